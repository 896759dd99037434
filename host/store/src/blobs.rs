//! Bytes under the name of their digest: modules, inputs, outputs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use manyhands_model::Digest;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::RwLock;

/// Content-addressed bytes over any object store. Cheap to clone.
///
/// A blob is immutable and its name proves it: every read hashes what it got.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Shared by those who put, taken alone to remove: so that nobody is told that a blob is there
    /// which is just being removed.
    removing: Arc<RwLock<()>>,
}

/// A blob as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
    /// When it was last put.
    pub put_at: SystemTime,
}

/// Why a blob could not be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is none of this name.
    #[error("blob {0} is not here; store it first")]
    Missing(Digest),
    /// The bytes are not those that were stored.
    #[error("{place}: blob {expected} is damaged, its bytes hash to {found}; store it again or restore a backup")]
    Corrupt {
        /// The name it is stored under.
        place: String,
        /// What its bytes should hash to.
        expected: Digest,
        /// What they do hash to.
        found: Digest,
    },
    /// The directory cannot be used.
    #[error("{}: {error}; check the path, its owner and the room on its disk", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The reason.
        error: String,
    },
    /// The object store failed.
    #[error("blob {digest}: {error}; check the blob store, then try again")]
    Store {
        /// The blob.
        digest: Digest,
        /// Its reason.
        error: object_store::Error,
    },
    /// The object store does not say what it holds.
    #[error("the blobs cannot be listed: {0}; check the blob store, then try again")]
    List(object_store::Error),
}

impl Blobs {
    /// Blobs as files in `dir`, which is made if it is not there.
    ///
    /// `object_store` writes a file aside and renames it; `with_fsync` makes it sync file and
    /// directory before it returns, which it does not do by default.
    ///
    /// # Errors
    /// [`BlobError::Directory`].
    pub fn local(dir: &Path) -> Result<Self, BlobError> {
        let fail = |error: &dyn ToString| BlobError::Directory { dir: dir.to_owned(), error: error.to_string() };
        crate::disk::create_dir(dir).map_err(|error| fail(&error))?;
        let store = LocalFileSystem::new_with_prefix(dir).map_err(|error| fail(&error))?;
        Ok(Self::over(Arc::new(store.with_fsync(true))))
    }

    /// Blobs in `store`, which must have them durable when its `put` returns.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, removing: Arc::default() }
    }

    /// Stores `bytes`, durable when this returns. Storing them again changes nothing, and mends a damaged copy.
    ///
    /// # Errors
    /// [`BlobError::Store`]; the blob is then there whole or not at all.
    pub async fn put(&self, bytes: impl Into<Bytes>) -> Result<Digest, BlobError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let _not_while_removing = self.removing.read().await;
        // Written even if it is there: what is there may be damaged, or not durable yet because
        // another `put` is about to sync it; and so that `remove_old` sees that it is wanted again.
        self.store.put(&name(&digest), bytes.into()).await.map_err(|error| BlobError::Store { digest, error })?;
        Ok(digest)
    }

    /// The bytes of `digest`, verified.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Corrupt`] or [`BlobError::Store`].
    pub async fn get(&self, digest: &Digest) -> Result<Bytes, BlobError> {
        let name = name(digest);
        let bytes = async { self.store.get(&name).await?.bytes().await };
        let bytes = bytes.await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => BlobError::Missing(*digest),
            error => BlobError::Store { digest: *digest, error },
        })?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(BlobError::Corrupt { place: format!("{}/{name}", self.store), expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Whether there is a blob of this name; its bytes are not read.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn contains(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self.store.head(&name(digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(BlobError::Store { digest: *digest, error }),
        }
    }

    /// All blobs, in no order. Those that are put or removed meanwhile may be in it or not.
    ///
    /// # Errors
    /// [`BlobError::List`].
    pub async fn list(&self) -> Result<Vec<BlobInfo>, BlobError> {
        let info = |object: object_store::ObjectMeta| {
            let digits: String = object.location.parts().map(|part| part.as_ref().to_owned()).collect();
            // Whatever else lies there was not put there by us.
            let digest = digits.parse().ok()?;
            Some(BlobInfo { digest, bytes: object.size, put_at: object.last_modified.into() })
        };
        let listed = self.store.list(None).try_filter_map(|object| async { Ok(info(object)) });
        listed.boxed().try_collect().await.map_err(BlobError::List)
    }

    /// Removes the blob if it was last put before `before`; says whether it did. No `put` can come in between.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn remove_old(&self, digest: &Digest, before: SystemTime) -> Result<bool, BlobError> {
        let _alone = self.removing.write().await;
        match self.store.head(&name(digest)).await {
            Ok(object) if SystemTime::from(object.last_modified) < before => {}
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(BlobError::Store { digest: *digest, error }),
        }
        self.delete(digest).await.map(|()| true)
    }

    /// Removes the blob, if it is there. After a power cut it may be there again.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        match self.store.delete(&name(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::Store { digest: *digest, error }),
        }
    }
}

fn name(digest: &Digest) -> Name {
    Name::from(blob_file(digest))
}

/// Where a blob lies in a directory of blobs: two digits of directory, so that none grows to millions of
/// files, then the others.
pub fn blob_file(digest: &Digest) -> String {
    let digits = digest.to_string();
    let (shard, rest) = digits.split_at(2);
    format!("{shard}/{rest}")
}
