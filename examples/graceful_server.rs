//! An echo server on a real socket, under supervision: a client keeps talking to it while it is restarted, crashes, and in the end says goodbye.
//!
//! ```text
//! cargo run --release --example graceful_server
//! ```
//!
//! Prints (and the message of the panic on the standard error):
//!
//! ```text
//! run 1 is up
//! echo: one
//! run 2 is up
//! connection lost, again
//! echo: two
//! connection lost, by a crash
//! run 3 is up
//! connection lost, again
//! echo: three
//! goodbye
//! server: cancelled, after 1 failure
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use overstrand::{Backoff, Supervisor, TaskContext, TaskResult, TaskSpec, ThreadPool};

type AnyResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long the server is deaf to a cancel at most.
const TICK: Duration = Duration::from_millis(10);

/// One client after the other, until the run shall end.
fn serve(listener: &TcpListener, cx: &TaskContext) -> TaskResult {
    cx.ready();
    while !cx.is_cancelled() {
        cx.heartbeat();
        match listener.accept() {
            Ok((client, _)) => talk(client, cx)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => _ = cx.sleep(TICK),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Echoes lines until the client goes, or the run shall end.
fn talk(client: TcpStream, cx: &TaskContext) -> TaskResult {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(TICK))?;
    let (mut answers, mut lines, mut line) = (client.try_clone()?, BufReader::new(client), String::new());
    while !cx.is_cancelled() {
        cx.heartbeat();
        match lines.read_line(&mut line) {
            // That client is gone; the next may come.
            Ok(0) => return Ok(()),
            Ok(_) => {
                assert_ne!(line, "crash\n", "a bug in the server");
                answers.write_all(line.as_bytes())?;
                line.clear();
            }
            // What has come of a line stays in `line`.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => (),
            Err(_) => return Ok(()),
        }
    }
    // A client that listens hears that it was no accident; one that does not is no failure.
    let _ = answers.write_all(b"goodbye\n");
    Ok(())
}

/// Talks to the server whatever happens to it.
struct Client {
    server: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: SocketAddr) -> AnyResult<Self> {
        Ok(Self { server, stream: BufReader::new(Self::dial(server)?) })
    }

    fn dial(server: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }

    /// The next line; `None` when the connection is lost.
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(n) if n > 0 => Some(line.trim_end().into()),
            _ => None,
        }
    }

    /// Has the line echoed, in a new connection if need be.
    fn echo(&mut self, line: &str) -> AnyResult {
        for _ in 0..10 {
            let is_sent = self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).is_ok();
            if is_sent && self.hear().as_deref() == Some(line) {
                println!("echo: {line}");
                return Ok(());
            }
            println!("connection lost, again");
            self.stream = BufReader::new(Self::dial(self.server)?);
        }
        Err("no echo".into())
    }
}

fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).grace(Duration::from_secs(5)).build()?;

    // The socket outlives the runs: who connects between two of them waits, and is not refused.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (tell, up) = mpsc::channel();
    let server = TaskSpec::blocking("server", move |cx: &TaskContext| {
        tell.send(cx.generation())?;
        serve(&listener, cx)
    });
    let server = server.backoff(Backoff::exponential(Duration::from_millis(20))).watchdog(Duration::from_secs(10));
    let server = supervisor.submit(server)?;
    println!("run {} is up", up.recv()?);
    let mut client = Client::connect(address)?;
    client.echo("one")?;

    // A new run, asked for. The old one says goodbye, and its connection ends.
    assert!(server.restart());
    println!("run {} is up", up.recv()?);
    client.echo("two")?;

    // A new run, because the old one crashes.
    client.stream.get_mut().write_all(b"crash\n")?;
    assert_eq!(client.hear(), None);
    println!("connection lost, by a crash");
    println!("run {} is up", up.recv()?);
    client.echo("three")?;

    // The end: the client hears of it.
    let ending = supervisor.clone();
    let end = pool.spawn(move || ending.shutdown());
    println!("{}", client.hear().ok_or("a word at the end")?);
    assert!(end.join()??.stuck.is_empty());
    assert_eq!(server.errors().len(), 1);
    println!("server: {}, after {} failure", server.outcome().join()?, server.errors().len());
    Ok(())
}
