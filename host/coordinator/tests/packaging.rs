//! What operators install: the sample configuration, the unit files, and what the service manager is told.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_manyhands-coordinator");
/// Long enough for a busy machine, short enough to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of 100, where 0 is locked away from everything and a unit without any hardening has 96.
const EXPOSURE_MAX: &str = "15";

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

/// The program, with nothing of this machine's settings.
fn program(config: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("HOME", "/home/nobody").arg("--config").arg(config).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_packaged_configuration_names_every_setting() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let sample = program(empty.path()).args(["--data-dir", "/var/lib/manyhands", "config", "sample"]).output().unwrap();
    let packaged = std::fs::read_to_string(packaging("coordinator.toml")).unwrap();
    assert_eq!(
        said(&sample),
        packaged,
        "make it anew: manyhands-coordinator --data-dir /var/lib/manyhands config sample > packaging/coordinator.toml"
    );
}

#[test]
fn a_runners_settings_are_for_root_alone_since_an_invitation_may_be_among_them() {
    let manifest = std::fs::read_to_string(packaging("../host/runner/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let settings = assets.iter().filter(|asset| asset[1].as_str() == Some("etc/default/manyhands-runner"));
    let modes: Vec<_> = settings.map(|asset| (asset[0].as_str(), asset[2].as_str())).collect();
    assert_eq!(modes, [(Some("../../packaging/runner.env"), Some("640"))]);
    // Systemd reads them, before it gives up its rights.
    let unit = std::fs::read_to_string(packaging("systemd/manyhands-runner.service")).unwrap();
    assert!(unit.contains("\nEnvironmentFile=/etc/default/manyhands-runner\n"), "{unit}");
    let settings = std::fs::read_to_string(packaging("runner.env")).unwrap();
    assert!(settings.contains("MANYHANDS_RUNNER_INVITATION="), "{settings}");
}

#[test]
fn the_packaged_configuration_can_be_used() {
    let check = program(&packaging("coordinator.toml")).args(["config", "check"]).output().unwrap();
    assert!(check.status.success(), "{}", said(&check));
}

/// A coordinator that is killed with the test.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn next_message(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = socket.recv(&mut message).expect("systemd is told within a minute");
    String::from_utf8_lossy(&message[..length]).trim().to_owned()
}

#[test]
fn systemd_is_told_when_it_serves_and_when_it_stops() {
    let home = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = home.path().join("coordinator.toml");
    let data = home.path().join("data");
    std::fs::write(&config, format!("listen = '127.0.0.1:0'\ndata_dir = '{}'", data.display())).unwrap();
    let health = || program(&config).arg("health").output().unwrap();
    assert!(!health().status.success(), "there is none yet");

    let started = program(&config).env("NOTIFY_SOCKET", home.path().join("notify")).stderr(Stdio::null()).spawn();
    let mut served = Served(started.unwrap());
    assert_eq!(next_message(&socket), "READY=1");
    let healthy = health();
    assert!(healthy.status.success(), "it serves from the moment that it says so: {}", said(&healthy));

    kill(Pid::from_raw(served.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(next_message(&socket), "STOPPING=1");
    assert!(served.0.wait().unwrap().success());
    let gone = health();
    assert_eq!(gone.status.code(), Some(69), "{}", said(&gone));
}

#[test]
fn unit_files_are_sound_and_locked_away() {
    let systemd_analyze = |arguments: &[&str], file: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).arg(file).env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
        command.stdin(Stdio::null()).output()
    };
    let home = tempfile::tempdir().unwrap();
    for name in ["manyhands-coordinator.service", "manyhands-runner.service"] {
        let unit = std::fs::read_to_string(packaging("systemd").join(name)).unwrap();
        // The programs are not installed on the computer that tests; any that exists will do.
        let installed = format!("ExecStart=/usr/bin/{}", name.trim_end_matches(".service"));
        assert!(unit.contains(&installed), "{name}");
        let file = home.path().join(name);
        std::fs::write(&file, unit.replace(&installed, &format!("ExecStart={PROGRAM}"))).unwrap();

        let Ok(verified) = systemd_analyze(&["verify"], &file) else {
            eprintln!("NOT CHECKED: {name}; there is no systemd-analyze here, which Debian's package systemd has");
            return;
        };
        let complaints = said(&verified);
        assert!(verified.status.success() && !complaints.contains(name), "{complaints}");
        let exposure = systemd_analyze(&["security", "--offline=yes", "--threshold", EXPOSURE_MAX], &file).unwrap();
        let report = said(&exposure);
        if report.contains("unrecognized option") {
            eprintln!("NOT CHECKED: how exposed {name} is; systemd-analyze is older than 250");
        } else {
            assert!(exposure.status.success(), "more than {EXPOSURE_MAX}:\n{report}");
        }
    }
}
