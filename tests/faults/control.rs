//! What these tests are worth: a coordinator that does forget is found out.

use std::fs;
use std::path::Path;

use manyhands_tests::Worker;

use crate::round::{Ledger, round};
use crate::site::{BOUND, Broken, Kept, Site};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // Keys that others may read are refused.
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_coordinator_whose_disk_forgets_is_found_out() {
    let kept = async {
        let mut site = Site::start().await?;
        site.add_runners(2);
        site.client.connected(2, BOUND).await?;
        let ledger = Ledger::open(&mut site, 0).await?;
        site.coordinator.kill()?;
        let past = tempfile::tempdir().unwrap();
        copy(&site.data_dir(), past.path());
        site.coordinator.start();
        let forget = async |site: &mut Site, _: &mut _| -> Kept<u64> {
            ledger.acknowledgement().await;
            site.coordinator.kill()?;
            fs::remove_dir_all(site.data_dir()).unwrap();
            copy(past.path(), &site.data_dir());
            site.coordinator.start();
            Ok(1)
        };
        round(&mut site, &ledger, 0, &Worker::new_key(), forget).await
    };
    match kept.await {
        Ok(tally) => panic!("nobody noticed that acknowledged work was gone: {tally:?}"),
        Err(Broken(why)) => assert!(why.contains("404"), "found out, but not for that: {why}"),
    }
}
