//! Calls the functions of the programs in `tests/surface`, which are written against the surface and not to be changed: the text of each, with a `main`
//! that calls what ends by itself, is compiled against the library that this test was built with, and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CORE_CALLS: &str = r#"
fn main() -> AnyResult {
    let tuned = tuned_pool()?;
    let pool = own_pool(2)?;
    assert_eq!(own_pool(0).err().map(|error| error.field()), Some("workers"));
    global_pool()?;
    fan_out(&pool)?;
    in_the_background(&pool)?;
    with_traits(&pool)?;
    // These two race with a delay and with a limit, so on a machine that is busy they may lose once or twice.
    assert!((0..20).any(|_| autosave(&pool).is_ok_and(|was_prevented| was_prevented)));
    run_here_if_refused(&pool, || ());
    question_mark(&pool, std::sync::mpsc::channel().0)?;
    assert_eq!(answer(&pool)?, 42);
    assert!((0..20).any(|_| answer_in_time(&pool).is_ok_and(|page| page.as_deref() == Some("slow page"))));
    assert_eq!(poll_each_frame(&pool)?.len(), 1024);
    assert!(why_not(&pool).starts_with("panicked: a number"));
    in_order(&pool)?;
    let db = bounded(&pool)?;
    let sum = Arc::new(AtomicU64::new(0));
    many_posters(&db, &sum);
    db.flush()?;
    assert_eq!(sum.load(Ordering::Relaxed), 28);
    call_back_later()?;
    db.spawn(|| call_back_later().is_ok()).join()?;
    let owner = db.clone();
    db.spawn(move || guarded(&owner, &mut HashMap::new())).join()?;
    who_am_i(&db)?;
    assert_eq!(long_sum(&pool, vec![1; 5000]).join()?, 5000);
    cancellable(&pool)?;
    status(&pool, &db);
    close(&db, false)?;
    close(&pool.create_sequenced_task_runner(DATABASE), true)?;
    end(&pool)?;
    run_here_if_refused(&pool, || println!("here instead"));
    end_without_deadline(&pool);
    end_without_deadline(&tuned);
    Ok(())
}
"#;

const RUNNERS_CALLS: &str = r#"
fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    let seq = pool.create_sequenced_task_runner(TaskTraits::default());
    parallel_limit(&pool, vec!["one".into(), "two".into()])?;
    let gl = one_thread(&pool)?;
    main_thread_in_a_task(&pool)?;
    any_runner(&pool)?;
    let counting = Counting { inner: seq.clone(), posted: AtomicUsize::new(0) };
    component(Arc::new(counting))?;
    assert_eq!(in_detail(&seq, &CancelToken::new())?, 10);
    repeating(&seq)?;
    let (disk, ui) = (pool.create_sequenced_task_runner(TaskTraits::default()), gl.clone());
    seq.spawn(move || replies(&disk, &ui)).join()??;
    assert_eq!(direct_call(&seq, "one\ntwo")?, 2);
    let mut keys = Vec::new();
    callback(&seq, &mut keys);
    keys.iter().for_each(|key| key('y'));
    assert_eq!(owned_state(&seq, "key")?, 2);
    let [built, failed, rebuilt] = built_in_place(&seq, "/no such file".into());
    assert!(built.call(|_| ()).join().is_ok() && rebuilt.call(|_| ()).join().is_ok());
    assert!(matches!(failed.call(|_| ()).join(), Err(JoinError::Poisoned(Some(_)))));
    let asked = pool.spawn_future(async move { ask_async(&built).await });
    assert_eq!(asked.join()??, 0);
    widgets(&gl)?;
    let file = File::open(std::env::current_exe()?)?;
    assert!(!pool.spawn(move || read_all(file)).join()??.is_empty());
    parallel_loop(&pool, Arc::new((0..100).collect()), true)?;
    parallel_loop(&pool, Arc::new((0..100).collect()), false)?;
    assert_eq!(borrow(&pool, &mut [vec![3, 1, 2], vec![2, 1]]), 2);
    assert!(borrow_or_fail(&pool, &["/no such file".into()]).is_err());
    assert!(borrow_or_fail(&pool, &[std::env::current_exe()?]).is_ok());
    let (a_pool, a_seq) = (pool.clone(), seq.clone());
    assert_eq!(pool.spawn_future(async move { futures(&a_pool, &a_seq).await }).join()??, 42);
    fences(&pool);
    assert!(to_the_front(&seq, &pool).starts_with('{'));
    pool.spawn(|| walk(&["somewhere".into()])).join()?;
    let (a_pool, a_seq) = (pool.clone(), seq.clone());
    pool.spawn_future(async move { fan_in(&a_pool, &a_seq).await }).join()??;
    drop(event_bus(&seq)?);
    pool.shutdown()?;
    println!("all kept");
    Ok(())
}

/// The reply of the example goes to the main thread, so it is called there.
fn main_thread_in_a_task(pool: &ThreadPool) -> AnyResult {
    main_thread(pool)
}
"#;

#[cfg(feature = "testing")]
const TESTING_CALLS: &str = r#"
fn main() -> AnyResult {
    session_ends_after_a_minute()?;
    what_is_left()?;
    results_arrive()?;
    a_day_of_heartbeats()?;
    assert!(std::panic::catch_unwind(some_order_loses_a_count).is_err(), "the lossy counter loses");
    same_seed_same_order()?;
    blocking_code()?;
    code_with_the_global_pool()?;
    shutdown_in_virtual_time()?;
    println!("all kept");
    Ok(())
}
"#;

#[cfg(feature = "signals")]
const SUPERVISION_CALLS: &str = r#"
fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    let house = supervisor(&pool)?;
    let log = log_events(&house);
    count_restarts(&house);
    camera(&house)?;
    assert_eq!(outcome(&house)?, Some(std::fs::metadata("Cargo.toml")?.len()));
    listening(&house)?;
    polling(&pool, &house)?;
    slots(&house, "Ada")?;
    batch(&house, vec!["a".into(), "b".into()])?;
    ordered_group(&house)?;
    assert!(house.find("server").is_some());
    house.find("app").ok_or("it is there")?.cancel();
    console(&house, "nobody");
    shut_down(&house)?;
    assert!(insist(&house, TaskSpec::blocking("late", |_| Ok(())))?.is_none(), "it is shut down");
    drop(log);
    room(&pool)?;
    let house = supervisor_with_defaults(&pool)?;
    periodic(&house)?;
    assert!(house.is_alive("flush") && house.is_alive("sync"));
    console(&house, "sync");
    assert!(!house.is_alive("sync"));
    let pid = std::process::id().to_string();
    let ends = std::thread::spawn(move || {
        while !signals_are_caught() {
            std::thread::yield_now();
        }
        std::process::Command::new("kill").args(["-TERM", &pid]).status()
    });
    daemon(&house)?;
    assert!(ends.join().is_ok_and(|status| status.is_ok_and(|status| status.success())));
    assert!(house.tasks().is_empty());
    println!("all kept");
    Ok(())
}

/// A port that is in use is fatal; one that is free is listened to until the task is stopped, and somebody knocks.
fn listening(house: &Supervisor) -> AnyResult {
    let other = TcpListener::bind("127.0.0.1:0")?;
    let port = other.local_addr()?.port();
    assert!(fatal(house, port).is_err());
    drop(other);
    let listens = fatal(house, port)?;
    listens.remove();
    // It may have looked already, and be gone.
    drop(TcpStream::connect(("127.0.0.1", port)));
    listens.wait_ended(Duration::from_secs(60))?;
    Ok(())
}

/// True when this process has a handler of its own for SIGTERM, which is signal 15.
fn signals_are_caught() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
    u64::from_str_radix(&caught, 16).is_ok_and(|mask| mask & 1 << 14 != 0)
}

/// It polls until it is stopped.
fn polling(pool: &ThreadPool, house: &Supervisor) -> AnyResult {
    let asks = house.clone();
    let polled = pool.spawn_future(async move { poll(&asks).await });
    let task = loop {
        match house.find("poll") {
            Some(task) => break task,
            None => std::thread::yield_now(),
        }
    };
    task.cancel();
    assert_eq!(polled.join()??, 0);
    Ok(())
}

/// Who insists gets the place of somebody else.
fn room(pool: &ThreadPool) -> AnyResult {
    let house = Supervisor::builder(pool).capacity(1).build()?;
    fn wait(cx: &TaskContext) -> TaskResult {
        cx.token().wait();
        Ok(())
    }
    let first = insist(&house, TaskSpec::blocking("first", wait))?.ok_or("there is room")?;
    assert!(insist(&house, TaskSpec::blocking("first", wait))?.is_none());
    let second = insist(&house, TaskSpec::blocking("second", wait))?.ok_or("it insists")?;
    assert!(matches!(first.outcome().join()?, Outcome::Evicted));
    second.cancel();
    Ok(())
}
"#;

#[cfg(feature = "cron")]
const SERVICES_CALLS: &str = r#"
fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).build()?;
    web(&pool)?;
    let session = CancelToken::new();
    let mail = session_service(&session)?;
    session.cancel();
    mail.wait_stopped(Duration::from_secs(60))?;
    supervised_service(&supervisor)?;
    let health = health_ticker(&pool)?;
    stop_ticker(&health)?;
    assert!(!health.is_running());
    cron_report()?.stop(Duration::from_secs(60))?;
    helpers()?;
    jobs(&pool)?;
    let this = std::env::current_exe()?;
    assert_eq!(supervised_index(&supervisor, vec![this.clone(), this])?, Some(2));
    assert_eq!(supervised_index(&supervisor, vec!["nowhere".into()])?, None);
    let report = supervisor.shutdown()?;
    assert!(report.stuck.is_empty(), "{report:?}");
    println!("all kept");
    Ok(())
}

/// Clients come all the time, so that nobody waits for one in vain.
fn web(pool: &ThreadPool) -> AnyResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = http_service(pool, listener)?;
    server.wait_started(Duration::from_secs(60))?;
    let ask = move || -> io::Result<String> {
        let patience = Duration::from_millis(100);
        let mut stream = std::net::TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut answer = String::new();
        io::Read::read_to_string(&mut stream, &mut answer)?;
        Ok(answer)
    };
    assert!((0..1000).any(|_| ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 204"))));
    let is_over = CancelToken::new();
    let until = is_over.clone();
    let clients = std::thread::spawn(move || {
        while !until.is_cancelled() {
            _ = ask();
        }
    });
    let seen = admin_page(&server);
    is_over.cancel();
    clients.join().expect("no panic");
    assert!(!server.is_running());
    seen
}

fn helpers() -> AnyResult {
    assert!(wait_for_file(std::env::current_exe()?) && !wait_for_file("nowhere".into()));
    let unwanted = CancelToken::new();
    unwanted.cancel();
    println!("a port, after all: {}", wait_for_port(&unwanted));
    assert_eq!(download().err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    assert_eq!((plugin("12"), plugin("twelve")), (Some(12), None));
    Ok(())
}

fn jobs(pool: &ThreadPool) -> AnyResult {
    let (jobs, wanted, unwanted) = (executor(pool)?, CancelToken::new(), CancelToken::new());
    unwanted.cancel();
    let all = sum(&jobs, &wanted)?;
    assert!(all > 499_999_500_000, "{all}");
    assert_eq!(query(pool, &wanted)?, 3);
    assert!(soon(estimate(&jobs, &wanted))? > 0);
    assert!(why_not(&jobs, &wanted).is_some() && why_not(&jobs, &unwanted).is_none());
    assert!(resumable(&jobs, memory_store()?, &wanted)? > 499_999_500_000);
    jobs.shutdown()?;
    assert!(why_not(&jobs, &wanted).is_none());
    Ok(())
}

/// Asks a future until it is ready.
fn soon<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}
"#;

/// The builds of the library beside this test, newest first.
fn libraries(deps: &Path) -> Vec<PathBuf> {
    let entries = deps.read_dir().expect("the test runs from there").filter_map(Result::ok);
    let builds = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("liboverstrand-") && name.ends_with(".rlib")
    });
    let mut builds: Vec<_> = builds.collect();
    builds.sort_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    builds.reverse();
    assert!(!builds.is_empty(), "the library was built");
    builds
}

/// Compiles a program against one of the builds that has what it needs, and runs it.
fn run(name: &str, text: &str) -> Output {
    run_in(Path::new("."), name, text)
}

/// The same, in that folder.
fn run_in(folder: &Path, name: &str, text: &str) -> Output {
    let deps = std::env::current_exe().expect("a test has a path");
    let deps = deps.parent().expect("a test lies in a folder");
    let (out, source) = (deps.join(name), deps.join(format!("{name}.rs")));
    std::fs::write(&source, text).expect("the folder of builds is writable");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let mut complaint = String::new();
    for library in libraries(deps) {
        let built = Command::new(&rustc)
            .args(["--edition", "2024", "--crate-name", name])
            .arg("--extern")
            .arg(format!("overstrand={}", library.display()))
            .arg("-L")
            .arg(format!("dependency={}", deps.display()))
            .arg("-o")
            .arg(&out)
            .arg(&source)
            .output()
            .expect("the compiler runs");
        if built.status.success() {
            return Command::new(&out).current_dir(folder).output().expect("it runs");
        }
        // The newest is the one that is to do.
        if complaint.is_empty() {
            complaint = String::from_utf8_lossy(&built.stderr).into_owned();
        }
    }
    panic!("{complaint}");
}

#[test]
fn functions_of_the_core_surface_do_what_they_say() {
    let ran = run("surface_1_core_calls", &format!("{}\n{CORE_CALLS}", include_str!("surface/1_core.rs")));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(printed.contains("here instead") && printed.contains("one\ntwo\nthree\n"), "{printed}");
}

#[test]
fn functions_of_the_runner_surface_do_what_they_say() {
    let ran = run("surface_2_runners_calls", &format!("{}\n{RUNNERS_CALLS}", include_str!("surface/2_runners.rs")));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(
        printed.contains("3 rows") && printed.contains("mail for 7") && printed.ends_with("all kept\n"),
        "{printed}"
    );
}

#[cfg(feature = "testing")]
#[test]
fn functions_of_the_testing_surface_do_what_they_say() {
    let ran = run("surface_3_testing_calls", &format!("{}\n{TESTING_CALLS}", include_str!("surface/3_testing.rs")));
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    assert!(told.contains("failed: seed ") && told.contains("replay: OVERSTRAND_REPLAY="), "{told}");
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(printed.starts_with("now\n0 queued, 1 delayed, next in Some(5s)\nlater\n"), "{printed}");
    assert!(printed.ends_with("in the environment\nsaved\nall kept\n"), "{printed}");
}

#[cfg(feature = "signals")]
#[test]
fn functions_of_the_supervision_surface_do_what_they_say() {
    let text = format!("{}\n{SUPERVISION_CALLS}", include_str!("surface/4_supervision.rs"));
    let ran = run("surface_4_supervision_calls", &text);
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    for line in ["camera-1", "cancelled", "submitted, 0 evicted", "late was not taken", "all kept\n"] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
}

#[cfg(feature = "cron")]
#[test]
fn functions_of_the_services_surface_do_what_they_say() {
    let text = format!("{}\n{SERVICES_CALLS}", include_str!("surface/5_services_jobs.rs"));
    // It may write a report there.
    let ran = run_in(&std::env::temp_dir(), "surface_5_services_jobs_calls", &text);
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    for line in ["running: true", "next: ", "not wanted any more", "closing time", "all kept\n"] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
}
