//! The files in which a runner keeps its reports.
//!
//! `how | bytes`. With an even `how` the bytes are a whole file. With an odd one they are `length: u16 | payload
//! of the reports | outputs`, and the reports get a signature that fits.

use std::cell::LazyCell;
use std::fs;

use manyhands_model::Digest;
use manyhands_protocol::{Done, Reports, decode, encode};
use manyhands_runner::outbox::Outbox;
use manyhands_signing::Statement as _;
use manyhands_worker::Parcel;
use tempfile::TempDir;

use crate::{example, promise, statement};

thread_local! {
    static DIRS: LazyCell<[TempDir; 2]> = LazyCell::new(|| [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
}

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [how, bytes @ ..] = bytes else { return false };
    let file = if how % 2 == 0 {
        bytes.to_vec()
    } else {
        let Some((length, rest)) = bytes.split_first_chunk() else { return false };
        let Some((payload, outputs)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else { return false };
        [&statement::sign(Reports::DOMAIN, payload), outputs].concat()
    };
    // A file is named after its reports; what is none has any name.
    let name = decode::<Done>(&file).map_or_else(|_| Digest::of(b"none"), |done| done.reports.digest());
    DIRS.with(|dirs| {
        let [dir, other] = dirs.each_ref().map(TempDir::path);
        let path = dir.join(name.to_string());
        fs::write(&path, &file).unwrap();
        let (outbox, left) = promise::bounded(file.len(), || Outbox::open(dir)).unwrap();
        let aside = path.with_extension("unreadable");
        let [parcel] = &*left else {
            assert!(left.is_empty() && !path.exists(), "a file is neither reports nor set aside");
            assert_eq!(fs::read(&aside).unwrap(), file, "what is set aside was changed");
            fs::remove_file(&aside).unwrap();
            return false;
        };
        let said = parcel.done().reports.verify_any().unwrap();
        assert!(
            parcel.name() == name && said.reports.len() == parcel.done().outputs.len(),
            "reports that nobody signed"
        );
        let (copy, _) = Outbox::open(other).unwrap();
        copy.save(parcel).unwrap();
        assert_eq!(Outbox::open(other).unwrap().1, left, "other reports came back");
        outbox.forget(name).unwrap();
        copy.forget(name).unwrap();
        true
    })
}

/// Reports of every verdict, as the outbox writes them and as a payload.
pub fn seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, _) = Outbox::open(dir.path()).unwrap();
    let parcel = Parcel::reopen(example::done()).unwrap();
    outbox.save(&parcel).unwrap();
    let file = fs::read(dir.path().join(parcel.name().to_string())).unwrap();
    let (reports, outputs) = example::reports();
    let payload = encode(&reports);
    vec![
        [&[0], &*file].concat(),
        [&[1], &(payload.len() as u16).to_le_bytes()[..], &payload, &encode(&outputs)].concat(),
    ]
}
