//! Machine code on disk, so that a module is compiled once on this computer.
//!
//! Machine code is executed as it is, so nobody but this runner may put any there: each entry ends with
//! a keyed BLAKE3 under a key that only this user can read, over the module's digest, the engine's
//! fingerprint and the code. An entry that does not fit is ignored and replaced. What is checked is what
//! was read: a file that changes afterwards changes nothing.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use manyhands_model::Digest;

/// Most bytes that the cache keeps; the entries that were not used for longest leave.
const BYTES_MAX: u64 = 512 << 20;
/// Bytes of an entry's tag.
const TAG_BYTES: usize = blake3::OUT_LEN;
/// What the tag's key follows from the runner's for, so that it is used for nothing else.
const TAG_CONTEXT: &str = "manyhands 2026-11 runner: compiled modules on disk";

/// The cache in one directory.
pub struct Cache {
    dir: PathBuf,
    tag_key: [u8; 32],
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
        let tag_key = blake3::derive_key(TAG_CONTEXT, &key);
        Ok(Self { dir: dir.to_owned(), tag_key, engine, bytes_max: BYTES_MAX })
    }

    /// Machine code of a module, if this runner compiled it for this engine before.
    pub fn get(&self, module: Digest) -> Option<Vec<u8>> {
        let path = self.path(module);
        let mut file = fs::File::open(&path).ok()?;
        let bytes = file.metadata().map_or(0, |about| about.len());
        let mut entry = Vec::with_capacity(usize::try_from(bytes).ok()?.saturating_add(1));
        file.read_to_end(&mut entry).ok()?;
        let (code, tag) = entry.split_last_chunk::<TAG_BYTES>()?;
        // Compares in constant time.
        if self.tag(module, code) != *tag {
            tracing::warn!(file = %path.display(), "a cached module was changed on disk; compiling it again");
            return None;
        }
        // The time of last use decides who leaves; not being able to note it costs a compilation at most.
        let _noted = file.set_modified(SystemTime::now());
        entry.truncate(code.len());
        Some(entry)
    }

    /// Keeps machine code.
    ///
    /// # Errors
    /// When it cannot be written. The code can be used all the same.
    pub fn put(&self, module: Digest, code: &[u8]) -> io::Result<()> {
        let tag = self.tag(module, code);
        let path = self.path(module);
        let part = path.with_extension("part");
        // No fsync: an entry that a crash tears fails its tag and is made again.
        fs::write(&part, [code, tag.as_bytes()].concat())?;
        fs::rename(&part, &path)?;
        self.evict()
    }

    fn path(&self, module: Digest) -> PathBuf {
        self.dir.join(format!("{module}-{}", self.engine.short()))
    }

    fn tag(&self, module: Digest, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.tag_key);
        // The digests have one length each, so no two entries are hashed alike.
        hasher.update(&module.0).update(&self.engine.0).update(code);
        hasher.finalize()
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
