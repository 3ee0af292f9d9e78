//! An HTTP server as a service: clients keep asking while it is restarted, again and again, and each request is answered.
//!
//! The listener outlives the runs: who connects between two of them waits in the kernel's queue, and is answered by the next. The stop function comes back when all that was accepted has been
//! answered.
//!
//! ```text
//! cargo run --release --example http_service
//! ```
//!
//! Prints:
//!
//! ```text
//! run 1 is up
//! a slow request of run 1 holds the restart up
//! run 1 has answered it; who came meanwhile was answered by run 2
//! 4 clients, 5 restarts under load: each request was answered
//! stopped; 0 errors
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use overstrand::{CancelToken, ParallelTaskRunner, Service, TaskContext, TaskResult, TaskTraits, ThreadPool};

type AnyResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 4;
const RESTARTS: usize = 5;

/// What all runs of the server share.
struct Server {
    listener: TcpListener,
    /// Answers requests, so many at once.
    desk: ParallelTaskRunner,
    runs: AtomicU64,
    answered: AtomicU64,
    /// `GET /slow` is answered when this is cancelled.
    slow: CancelToken,
}

impl Server {
    /// The start function: accepts until it shall end. A call that wakes it up for that says nothing.
    fn serve(self: &Arc<Self>, cx: &TaskContext) -> TaskResult {
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        cx.ready();
        while !cx.is_cancelled() {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                // It has hung up already, which some systems tell.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            let server = Arc::clone(self);
            // What was accepted is answered, also when the run shall end meanwhile.
            let answer = move || match server.answer(client, run) {
                Ok(()) => {}
                Err(error) => eprintln!("a client is gone: {error}"),
            };
            self.desk.post_task(answer)?;
        }
        Ok(())
    }

    fn answer(&self, mut client: TcpStream, run: u64) -> AnyResult {
        client.set_read_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(&client).lines();
        // Nothing is what the call that wakes up says.
        let Some(request) = lines.next().transpose()? else { return Ok(()) };
        lines.map_while(Result::ok).find(String::is_empty).ok_or("half a request")?;
        if request.starts_with("GET /slow ") {
            self.slow.wait();
        }
        let body = format!("run {run}");
        let length = body.len();
        write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
        self.answered.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The server, and what is heard when a stop function begins to wait for its last requests.
fn service(pool: &ThreadPool) -> AnyResult<(Service, Arc<Server>, Receiver<()>)> {
    let server = Arc::new(Server {
        listener: TcpListener::bind("127.0.0.1:0")?,
        desk: pool.create_parallel_task_runner(TaskTraits::default().may_block(), 8)?,
        runs: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        slow: CancelToken::new(),
    });
    let ((leave, left), (drain, draining)) = (mpsc::channel(), mpsc::channel());
    let (starting, stopping) = (Arc::clone(&server), Arc::clone(&server));
    let start = move |cx: &TaskContext| {
        starting.serve(cx)?;
        Ok(leave.send(())?)
    };
    // The token has been cancelled: a call wakes up who accepts, and when he has gone home, the desk is cleared.
    let stop = move |_: &TaskContext| {
        drop(TcpStream::connect(stopping.listener.local_addr()?)?);
        left.recv()?;
        drain.send(())?;
        Ok(stopping.desk.flush()?)
    };
    Ok((Service::new(start, stop).on(pool), server, draining))
}

/// Connects, and asks.
fn ask(server: SocketAddr, path: &str) -> AnyResult<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    Ok(stream)
}

/// The body of the answer; anything but a whole one is an error.
fn hear(mut stream: TcpStream) -> AnyResult<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let is_whole = head.starts_with("HTTP/1.1 200 OK") && head.contains(&format!("Content-Length: {}\r\n", body.len()));
    if is_whole { Ok(body.to_owned()) } else { Err(format!("a strange answer: {text}").into()) }
}

/// Asks until it shall end; how often.
fn client(server: SocketAddr, end: &CancelToken) -> AnyResult<u64> {
    let mut asked = 0;
    while !end.is_cancelled() {
        assert!(hear(ask(server, "/")?)?.starts_with("run "));
        asked += 1;
    }
    Ok(asked)
}

/// Restarts while one request is being answered, and another one comes meanwhile.
fn slow_request(pool: &ThreadPool, service: &Service, server: &Server, draining: &Receiver<()>) -> AnyResult {
    let address = server.listener.local_addr()?;
    let slow = ask(address, "/slow")?;
    let restarting = service.clone();
    let restart = pool.spawn(move || restarting.restart(PATIENCE));
    draining.recv_timeout(PATIENCE)?;
    println!("a slow request of run 1 holds the restart up");
    let meanwhile = ask(address, "/")?;
    assert!(!restart.is_finished(), "not before the slow one is answered");
    server.slow.cancel();
    let (first, second) = (hear(slow)?, hear(meanwhile)?);
    restart.join()??;
    println!("{first} has answered it; who came meanwhile was answered by {second}");
    Ok(())
}

/// Restarts while clients ask as fast as they can; how often they asked.
fn load(service: &Service, server: &Server) -> AnyResult<u64> {
    let (address, end) = (server.listener.local_addr()?, CancelToken::new());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(address, &end))).collect();
        let work = || -> AnyResult {
            for _ in 0..RESTARTS {
                // Each run has something to do.
                let before = server.answered.load(Ordering::SeqCst);
                while server.answered.load(Ordering::SeqCst) < before + 50 && !clients.iter().any(|c| c.is_finished()) {
                    std::thread::yield_now();
                }
                service.restart(PATIENCE)?;
            }
            Ok(())
        };
        let result = work();
        end.cancel();
        let mut asked = 0;
        for client in clients {
            asked += client.join().map_err(|_| "a client panicked")??;
        }
        result.map(|()| asked)
    })
}

fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(4).build()?;
    let (service, server, draining) = service(&pool)?;
    service.start()?;
    service.wait_ready(PATIENCE)?;
    println!("run 1 is up");

    slow_request(&pool, &service, &server, &draining)?;
    let asked = 2 + load(&service, &server)?;
    println!("{CLIENTS} clients, {RESTARTS} restarts under load: each request was answered");

    service.stop(PATIENCE)?;
    assert_eq!(server.answered.load(Ordering::SeqCst), asked);
    assert_eq!(server.runs.load(Ordering::SeqCst) as usize, 2 + RESTARTS);
    assert!(!service.is_running());
    println!("stopped; {} errors", service.errors().len());
    Ok(())
}
