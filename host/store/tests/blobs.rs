//! Blobs are what their names say, or an error.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use manyhands_model::Digest;
use manyhands_store::{BlobError, Blobs, blob_file};

#[tokio::test]
async fn what_was_put_is_had_again_under_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(&dir.path().join("blobs")).unwrap();
    let digest = blobs.put(&b"a module"[..]).await.unwrap();
    assert_eq!(digest, Digest::of(b"a module"));
    assert_eq!(blobs.put(&b"a module"[..]).await.unwrap(), digest, "once more is no more");
    assert_eq!(blobs.get(&digest).await.unwrap(), &b"a module"[..]);
    assert!(blobs.contains(&digest).await.unwrap());

    let again = Blobs::local(&dir.path().join("blobs")).unwrap();
    assert_eq!(again.get(&digest).await.unwrap(), &b"a module"[..]);
    again.delete(&digest).await.unwrap();
    again.delete(&digest).await.unwrap();
    assert!(!again.contains(&digest).await.unwrap());
    assert!(matches!(again.get(&digest).await, Err(BlobError::Missing(missing)) if missing == digest));
    let empty = again.put(Vec::new()).await.unwrap();
    assert_eq!(again.get(&empty).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_until_the_blob_is_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(dir.path()).unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    let digest = blobs.put(bytes.clone()).await.unwrap();
    let name = digest.to_string();
    let file = dir.path().join(&name[..2]).join(&name[2..]);
    for harm in [|bytes: &mut Vec<u8>| bytes[77] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(10)] {
        let mut harmed = fs::read(&file).unwrap();
        harm(&mut harmed);
        fs::write(&file, harmed).unwrap();
        let error = blobs.get(&digest).await.unwrap_err();
        assert!(matches!(error, BlobError::Corrupt { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&name[2..]) && message.contains("restore a backup"), "{message}");
        blobs.put(bytes.clone()).await.unwrap();
        assert_eq!(blobs.get(&digest).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn any_object_store_will_do() {
    let blobs = Blobs::over(Arc::new(object_store::memory::InMemory::new()));
    let digest = blobs.put(&b"somewhere else"[..]).await.unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap(), &b"somewhere else"[..]);
}

#[tokio::test]
async fn only_what_was_put_long_ago_and_not_again_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(dir.path()).unwrap();
    let (old, again) = (blobs.put(&b"old"[..]).await.unwrap(), blobs.put(&b"again"[..]).await.unwrap());
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for digest in [old, again] {
        let file = fs::File::options().write(true).open(dir.path().join(blob_file(&digest))).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    fs::write(dir.path().join("README"), "not a blob").unwrap();
    blobs.put(&b"again"[..]).await.unwrap();

    let mut listed = blobs.list().await.unwrap();
    listed.sort_by_key(|blob| blob.bytes);
    assert_eq!(listed.iter().map(|blob| (blob.digest, blob.bytes)).collect::<Vec<_>>(), [(old, 3), (again, 5)]);
    let before = long_ago + Duration::from_secs(60);
    assert!(listed[0].put_at < before && listed[1].put_at > before);

    assert!(blobs.remove_old(&old, before).await.unwrap());
    assert!(!blobs.remove_old(&old, before).await.unwrap(), "it is gone");
    assert!(!blobs.remove_old(&again, before).await.unwrap(), "somebody wants it again");
    assert!(!blobs.contains(&old).await.unwrap() && blobs.contains(&again).await.unwrap());
}
