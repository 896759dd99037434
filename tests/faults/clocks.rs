//! Clocks that are set, before a start and while a program runs. libfaketime plays the operator who does that.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::round::Dice;
use crate::site::{Kept, Site};

const RUNNERS: usize = 3;
/// Where Debian, Fedora and others put it; several threads need that one.
const PLACES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

fn library() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|place| place.exists())
}

/// Clocks that can be set: of the runners, and of the coordinator last.
struct Clocks {
    folder: tempfile::TempDir,
}

impl Clocks {
    /// Gives each machine a clock of its own, from its next start.
    fn give(library: &std::path::Path, site: &mut Site) -> Kept<Self> {
        let clocks = Self { folder: tempfile::tempdir().unwrap() };
        for machine in 0..=RUNNERS {
            clocks.set(machine, 0);
            let file = clocks.file(machine).into_os_string();
            machine_of(site, machine).environment = vec![
                ("LD_PRELOAD", library.as_os_str().to_owned()),
                ("FAKETIME_TIMESTAMP_FILE", file),
                ("FAKETIME_NO_CACHE", OsString::from("1")),
                // Nobody can set that one.
                ("FAKETIME_DONT_FAKE_MONOTONIC", OsString::from("1")),
            ];
            machine_of(site, machine).kill()?;
            machine_of(site, machine).start();
        }
        Ok(clocks)
    }

    fn file(&self, machine: usize) -> PathBuf {
        self.folder.path().join(machine.to_string())
    }

    /// Seconds before or after the right time.
    fn set(&self, machine: usize, seconds: i64) {
        // A reader never sees half a number.
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, self.file(machine)).unwrap();
    }
}

fn machine_of(site: &mut Site, machine: usize) -> &mut crate::site::Machine {
    if machine == RUNNERS { &mut site.coordinator } else { &mut site.runners[machine] }
}

/// Sets some clock, with or without a new start, and sets it right again.
async fn jump(site: &mut Site, clocks: &Clocks, dice: &mut Dice) -> Kept<u64> {
    const JUMPS: &[i64] = &[-86_400, -3_700, -45, -5, 5, 45, 3_700, 86_400];
    let (machine, jump) = (dice.below(RUNNERS as u64 + 1) as usize, JUMPS[dice.below(JUMPS.len() as u64) as usize]);
    let (start, start_again) = (dice.below(2) == 0, dice.below(2) == 0);
    for (seconds, start) in [(jump, start), (0, start_again)] {
        tokio::time::sleep(dice.moment(400)).await;
        if start {
            machine_of(site, machine).kill()?;
        }
        clocks.set(machine, seconds);
        if start {
            machine_of(site, machine).start();
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    Ok(2)
}

#[tokio::test]
async fn whoever_is_told_the_wrong_time_the_run_ends_right() {
    let Some(library) = library() else {
        eprintln!("left out: there is no libfaketime; on Debian and Ubuntu `sudo apt install libfaketime` brings it");
        return;
    };
    let test = "clocks::whoever_is_told_the_wrong_time_the_run_ends_right";
    let site = async {
        let mut site = Site::start().await?;
        site.add_runners(RUNNERS);
        Ok(site)
    };
    let mut clocks = None;
    crate::campaign(test, crate::rounds(2), site.await, async |site, _, dice| {
        let clocks = match &clocks {
            Some(clocks) => clocks,
            None => clocks.insert(Clocks::give(&library, site)?),
        };
        jump(site, clocks, dice).await
    })
    .await;
}
