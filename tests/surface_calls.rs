//! Calls the functions of `tests/surface/1_core.rs`, which is a program against the surface and is not to be changed: its text, with a `main` that
//! calls what ends by itself, is compiled against the library that this test was built with, and run.

use std::path::{Path, PathBuf};
use std::process::Command;

const CALLS: &str = r#"
fn main() -> AnyResult {
    let tuned = tuned_pool()?;
    let pool = own_pool(2)?;
    assert_eq!(own_pool(0).err().map(|error| error.field()), Some("workers"));
    global_pool()?;
    fan_out(&pool)?;
    in_the_background(&pool)?;
    with_traits(&pool)?;
    assert!(autosave(&pool)?);
    run_here_if_refused(&pool, || ());
    question_mark(&pool, std::sync::mpsc::channel().0)?;
    assert_eq!(answer(&pool)?, 42);
    assert_eq!(answer_in_time(&pool)?.as_deref(), Some("slow page"));
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

/// The newest build of the library beside this test.
fn library(deps: &Path) -> PathBuf {
    let entries = deps.read_dir().expect("the test runs from there").filter_map(Result::ok);
    let builds = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("liboverstrand-") && name.ends_with(".rlib")
    });
    builds.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok()).expect("the library was built")
}

#[test]
fn functions_of_the_core_surface_do_what_they_say() {
    let deps = std::env::current_exe().expect("a test has a path");
    let deps = deps.parent().expect("a test lies in a folder");
    let out = deps.join("surface_1_core_calls");
    let text = format!("{}\n{CALLS}", include_str!("surface/1_core.rs"));
    let source = deps.join("surface_1_core_calls.rs");
    std::fs::write(&source, text).expect("the folder of builds is writable");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", "surface_calls"])
        .arg("--extern")
        .arg(format!("overstrand={}", library(deps).display()))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("-o")
        .arg(&out)
        .arg(&source)
        .output()
        .expect("the compiler runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(&out).output().expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(printed.contains("here instead") && printed.contains("one\ntwo\nthree\n"), "{printed}");
}
