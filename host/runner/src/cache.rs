//! Machine code on disk, so that a module is compiled once on this computer.
//!
//! Machine code is executed as it is, so nobody but this runner may put any there: each entry ends with
//! an HMAC-SHA-256 (RFC 2104) under a key that only this user can read, over the module's digest, the
//! engine's fingerprint and the code. An entry that does not fit is ignored and replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use manyhands_model::Digest;
use sha2::Sha256;

/// Most bytes that the cache keeps; the entries that were not used for longest leave.
const BYTES_MAX: u64 = 512 << 20;
/// Bytes of an entry's tag.
const TAG_BYTES: usize = 32;

/// The cache in one directory.
pub struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    engine: Digest,
    bytes_max: u64,
}

impl Cache {
    /// The cache in `dir`, for an engine of that fingerprint. `key` is secret and stays the same.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: &Path, key: [u8; 32], engine: Digest) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), key, engine, bytes_max: BYTES_MAX })
    }

    /// Machine code of a module, if this runner compiled it for this engine before.
    pub fn get(&self, module: Digest) -> Option<Vec<u8>> {
        let path = self.path(module);
        let mut entry = fs::read(&path).ok()?;
        let at = entry.len().checked_sub(TAG_BYTES)?;
        let tag = entry.split_off(at);
        if self.mac(module, &entry).verify_slice(&tag).is_err() {
            tracing::warn!(file = %path.display(), "a cached module was changed on disk; compiling it again");
            return None;
        }
        // The time of last use decides who leaves; not being able to note it costs a compilation at most.
        let _noted = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(entry)
    }

    /// Keeps machine code.
    ///
    /// # Errors
    /// When it cannot be written. The code can be used all the same.
    pub fn put(&self, module: Digest, code: &[u8]) -> io::Result<()> {
        let tag = self.mac(module, code).finalize().into_bytes();
        let path = self.path(module);
        let part = path.with_extension("part");
        // No fsync: an entry that a crash tears fails its tag and is made again.
        fs::write(&part, [code, &tag[..]].concat())?;
        fs::rename(&part, &path)?;
        self.evict()
    }

    fn path(&self, module: Digest) -> PathBuf {
        self.dir.join(format!("{module}-{}", self.engine.short()))
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    fn mac(&self, module: Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key");
        mac.update(&module.0);
        mac.update(&self.engine.0);
        mac.update(code);
        mac
    }

    fn evict(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            entries.push((about.modified()?, about.len(), entry.path()));
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_only_as_this_runner_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let (module, engine) = (Digest::of(b"module"), Digest::of(b"engine"));
        let cache = Cache::open(dir.path(), [1; 32], engine).unwrap();
        assert_eq!(cache.get(module), None);
        cache.put(module, b"code").unwrap();
        assert_eq!(cache.get(module).as_deref(), Some(&b"code"[..]));

        let path = cache.path(module);
        let entry = fs::read(&path).unwrap();
        for byte in 0..entry.len() {
            let mut bad = entry.clone();
            bad[byte] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(cache.get(module), None, "byte {byte}");
        }
        fs::write(&path, &entry).unwrap();
        let stranger = Cache::open(dir.path(), [2; 32], engine).unwrap();
        assert_eq!(stranger.get(module), None, "another key");
        let upgraded = Cache::open(dir.path(), [1; 32], Digest::of(b"newer")).unwrap();
        assert_eq!(upgraded.get(module), None, "another engine");
    }

    #[test]
    fn the_entry_that_was_not_used_for_longest_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(dir.path(), [1; 32], Digest::of(b"engine")).unwrap();
        cache.bytes_max = 3 * (100 + TAG_BYTES as u64);
        let modules = [b"a", b"b", b"c", b"d"].map(|name| Digest::of(name));
        for (age, module) in [30, 20, 10].into_iter().zip(modules) {
            cache.put(module, &[0; 100]).unwrap();
            let file = fs::File::options().append(true).open(cache.path(module)).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        assert!(cache.get(modules[0]).is_some(), "used again, so it is not the next to leave");
        cache.put(modules[3], &[0; 100]).unwrap();
        assert_eq!(modules.map(|module| cache.get(module).is_some()), [true, false, true, true]);
    }
}
