//! `OVERSTRAND_WORKERS`: the environment belongs to the process, so it is set for a child that runs this binary again.

use std::process::Command;

use overstrand::ThreadPool;

const CHILD: &str = "OVERSTRAND_TEST_CHILD";

#[test]
fn variable_sets_the_default_and_is_checked() {
    if std::env::var_os(CHILD).is_some() {
        match ThreadPool::builder().build() {
            Ok(pool) => println!("built {}", pool.workers()),
            Err(error) => println!("refused {error}"),
        }
        println!("explicit {}", ThreadPool::builder().workers(1).build().expect("valid").workers());
        return;
    }
    for (value, expected) in
        [("3", "built 3"), ("0", "refused OVERSTRAND_WORKERS = \"0\""), ("many", "refused OVERSTRAND_WORKERS")]
    {
        let child = Command::new(std::env::current_exe().expect("a test has a path"))
            .args(["--exact", "variable_sets_the_default_and_is_checked", "--nocapture"])
            .env(CHILD, "1")
            .env("OVERSTRAND_WORKERS", value)
            .output()
            .expect("it runs");
        let printed = String::from_utf8_lossy(&child.stdout);
        assert!(printed.contains(expected) && printed.contains("explicit 1"), "{value}: {printed}");
    }
}
