//! Backups: made while runs go on, restored elsewhere, and found out when they are not what they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use manyhands_tests::{Coordinator, jobs, run, run_limited, until};

/// What a command said, where its exit code is the one that is expected.
#[track_caller]
fn said(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    (stdout, stderr)
}

fn command<'a>(data_dir: &'a Path, words: &[&'a str]) -> Vec<&'a str> {
    [&["--data-dir", data_dir.to_str().expect("a path in UTF-8")], words].concat()
}

/// Runs the coordinator's program beside, or instead of, a coordinator.
fn operate(data_dir: &Path, words: &[&str]) -> Output {
    run("manyhands-coordinator", command(data_dir, words))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Makes a backup and returns its path.
#[track_caller]
fn back_up(data_dir: &Path, to: &Path) -> PathBuf {
    let (stdout, stderr) = said(&operate(data_dir, &["backup", "--to", text(to)]), 0);
    assert!(stderr.contains("restored into a scratch directory"), "{stderr}");
    PathBuf::from(stdout.trim_end())
}

/// Inputs for the parrot whose outputs, like themselves, are too long for a record.
fn long_texts(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("\"{number:06000}\"").into_bytes()).collect()
}

#[tokio::test]
async fn a_run_that_is_backed_up_in_the_middle_ends_right_after_a_restore() {
    let mut coordinator = Coordinator::start().await;
    for job in [jobs::hasher(), jobs::parrot()] {
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
    }
    let runners = coordinator.runners(3).await;
    let long = long_texts(5);
    let finished = coordinator.submit("parrot", &long).await.expect("submitted");
    assert_eq!(coordinator.outputs(finished.id).await, long);
    let inputs = jobs::texts(2_000);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted");
    coordinator.done(run.id, 10).await;
    // On a busy machine the run would be over before the backup begins.
    runners.iter().for_each(|runner| runner.process.suspend());

    let elsewhere = tempfile::tempdir().expect("a folder");
    let data = coordinator.data_dir();
    let backup = back_up(&data, elsewhere.path());
    let done = coordinator.run(run.id).await.units.done;
    runners.iter().for_each(|runner| runner.process.resume());
    // The future that is lost: more answers, another run, another signing key.
    coordinator.done(run.id, done + 20).await;
    let lost = coordinator.submit("parrot", &long_texts(1)).await.expect("submitted");
    let _keys: manyhands_api::KeysView = coordinator.post("/v1/keys/rotate", "").await.expect("rotated");
    coordinator.kill();

    said(&operate(&data, &["restore", text(&backup)]), 73);
    fs::rename(&data, data.with_extension("lost")).expect("moved");
    let (stdout, stderr) = said(&operate(&data, &["restore", text(&backup)]), 0);
    assert!(stdout.contains("2 jobs, 2 runs (1 active)"), "{stdout}");
    assert!(stderr.contains("submit them again") && stderr.contains("no new join link"), "{stderr}");
    coordinator.restart().await;

    // The runners never stopped: they believe the restored coordinator, and bring it to its end.
    let expected: Vec<Vec<u8>> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run.id).await, expected);
    assert_eq!(coordinator.outputs(finished.id).await, long);
    assert!(coordinator.get::<manyhands_api::RunView>(&format!("/v1/runs/{}", lost.id)).await.is_err());
    said(&operate(&data, &["check"]), 0);
    drop(runners);
}

#[tokio::test]
async fn a_coordinator_makes_and_keeps_backups_by_itself() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let backups = elsewhere.path().join("backups");
    // A test's settings live as long as the test's process.
    let setting: &'static str = Box::leak(format!("backup.dir={}", backups.display()).into_boxed_str());
    let mut coordinator = Coordinator::start_with(&[setting, "backup.keep_hourly=1", "backup.keep_daily=0"]).await;
    let data = coordinator.data_dir();
    let listed = || said(&operate(&data, &["backups", text(&backups)]), 0).0;
    let one = || async { Some(listed()).filter(|listed| listed.lines().count() == 1) };
    let first = until("the first backup is made", one).await;
    assert!(first.contains("000001-"), "{first}");
    let page = || async { coordinator.request(reqwest::Method::GET, "/metrics").send().await.expect("an answer") };
    let made = || async {
        let page = page().await.text().await.expect("a page");
        page.contains("manyhands_backups_total{result=\"ok\"} 1").then_some(page)
    };
    let page = until("the backup is counted", made).await;
    let time = page.lines().find(|line| line.starts_with("manyhands_backup_last_success_timestamp_seconds "));
    assert!(time.is_some_and(|line| !line.ends_with(" 0.0")), "{time:?}");

    // By hand into the same place, online and offline: the older one of this hour goes.
    let by_hand = |number: &'static str| {
        let (path, _) = said(
            &operate(
                &data,
                &["--set", setting, "--set", "backup.keep_hourly=1", "--set", "backup.keep_daily=0", "backup"],
            ),
            0,
        );
        assert!(path.contains(number), "{path}");
        let listed = listed();
        assert!(listed.lines().last().is_some_and(|line| line.contains(number)), "{listed}");
        listed
    };
    by_hand("000002-");
    coordinator.kill();
    let listed = by_hand("000003-");
    assert!(listed.lines().count() <= 2, "the week's and the hour's: {listed}");
}

#[tokio::test]
async fn damage_is_found_by_a_check_whether_the_coordinator_runs_or_not() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    coordinator.submit("parrot", &long_texts(2)).await.expect("submitted");
    let data = coordinator.data_dir();
    said(&operate(&data, &["check"]), 0);

    let module =
        coordinator.get::<manyhands_api::JobView>("/v1/jobs/parrot").await.expect("published").module.to_string();
    let file = data.join("blobs").join(&module[..2]).join(&module[2..]);
    let good = fs::read(&file).expect("the module");
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&file, bad).expect("written");
    let elsewhere = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let (stdout, stderr) = said(&operate(&data, &["check"]), 1);
        assert!(stdout.contains(&module[2..]) && stdout.contains("blobs of a backup"), "{stdout}");
        assert!(stderr.contains("1 places are damaged"), "{stderr}");
        // No backup is made of what is damaged.
        assert_ne!(operate(&data, &["backup", "--to", text(elsewhere.path())]).status.code(), Some(0));
        assert_eq!(said(&operate(&data, &["backups", text(elsewhere.path())]), 0).0, "");
        coordinator.kill();
    }
    fs::write(&file, good).expect("written");
    said(&operate(&data, &["check"]), 0);
    let orphan = data.join("blobs/00").join("0".repeat(62));
    fs::create_dir_all(orphan.parent().expect("a folder")).expect("made");
    fs::write(&orphan, "nobody's").expect("written");
    let (stdout, _) = said(&operate(&data, &["compact"]), 0);
    assert!(stdout.contains("1 removed that no record named (8 bytes)"), "{stdout}");
    assert!(!orphan.exists() && file.exists());
    said(&operate(&data, &["check"]), 0);
}

#[tokio::test]
async fn a_full_backup_disk_is_said_and_leaves_no_half_backup() {
    let mut coordinator = Coordinator::start().await;
    let job = jobs::parrot();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let long = format!("\"{}\"", "x".repeat(3 << 20)).into_bytes();
    coordinator.submit("parrot", &[long]).await.expect("submitted");
    coordinator.kill();
    let (data, elsewhere) = (coordinator.data_dir(), tempfile::tempdir().expect("a folder"));
    let backup = back_up(&data, elsewhere.path());
    fs::remove_dir_all(&backup).expect("removed");

    // The state can be written, the blob cannot: no file of more than 1 or 2 MiB, depending on the shell's unit.
    let words = command(&data, &["backup", "--to", text(elsewhere.path())]);
    let output = run_limited("trap '' XFSZ; ulimit -f 2048", "manyhands-coordinator", words);
    let (_, stderr) = said(&output, 74);
    assert!(stderr.contains("room"), "{stderr}");
    assert_eq!(said(&operate(&data, &["backups", text(elsewhere.path())]), 0).0, "");
    let left = fs::read_dir(elsewhere.path()).expect("listed").count();
    assert_eq!(left, 1, "nothing but the lock");
    back_up(&data, elsewhere.path());
}

#[tokio::test]
async fn every_kind_of_failure_has_its_exit_code() {
    let mut coordinator = Coordinator::start().await;
    let (data, elsewhere) = (coordinator.data_dir(), tempfile::tempdir().expect("a folder"));
    let none = elsewhere.path().join("none");
    said(&operate(&none, &["check"]), 66);
    said(&operate(&data, &["backup"]), 2);
    said(&operate(&data, &["restore", text(&none)]), 73);
    said(&operate(&none, &["restore", text(elsewhere.path())]), 66);
    said(&operate(&data, &["jobs", "revoke", "nothing", "1.0.0"]), 66);
    said(&operate(&data, &["backup", "--to", text(&data.join("inside"))]), 2);
    said(&operate(&none, &["token", "list"]), 69);

    // A damaged backup: said before anything is made.
    let backup = back_up(&data, elsewhere.path());
    let keys = backup.join("keys/root.key");
    let mut bytes = fs::read(&keys).expect("the key");
    bytes[3] ^= 1;
    fs::write(&keys, bytes).expect("written");
    let (_, stderr) = said(&operate(&none, &["restore", text(&backup)]), 65);
    assert!(stderr.contains("keys/root.key") && !none.exists(), "{stderr}");

    coordinator.kill();
    said(&operate(&data, &["token", "list"]), 69);
    said(&operate(&data, &["backup", "--to", text(&data.join("inside"))]), 73);
    // Where a restore broke off, no coordinator starts.
    fs::create_dir(data.join(".restoring")).expect("made");
    let (_, stderr) = said(&operate(&data, &["--listen", "127.0.0.1:0"]), 65);
    assert!(stderr.contains("restore again") || stderr.contains("`manyhands-coordinator restore`"), "{stderr}");
}
