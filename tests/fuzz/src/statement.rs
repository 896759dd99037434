//! Signed statements, with signatures that do not fit and with ones that do.
//!
//! `kind | how | bytes`. With an even `how` the bytes are a whole [`Signed`] statement. With an odd one they
//! are a payload, which gets a signature that fits, because a fuzzer finds everything but that.

use ed25519_dalek::{Signer as _, SigningKey};
use manyhands_model::Timestamp;
use manyhands_protocol::{Greeting, Leases, Publication, Release, Reports};
use manyhands_signing::{KeyRing, PublicKey, Signed, Statement, TrustList, Untrusted};

use crate::{example, promise};

/// Tries the bytes as one kind of statement.
type Try = fn(bytes: &[u8]) -> bool;

const KINDS: &[(Try, Try)] = &[
    (arrived::<Publication>, forged::<Publication>),
    (arrived::<Release>, forged::<Release>),
    (arrived::<Leases>, forged::<Leases>),
    (arrived::<Reports>, forged::<Reports>),
    (arrived::<Greeting>, forged::<Greeting>),
    (arrived::<TrustList>, trust_list),
];

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [kind, how, bytes @ ..] = bytes else { return false };
    let Some((arrived, forged)) = KINDS.get(usize::from(*kind)) else { return false };
    if how % 2 == 0 { arrived(bytes) } else { forged(bytes) }
}

/// Each kind, whole and as a payload.
pub fn seeds() -> Vec<Vec<u8>> {
    fn both<T: Statement>(kind: u8, statement: &T) -> [Vec<u8>; 2] {
        let whole = postcard::to_allocvec(&Signed::new(&example::key(), statement)).unwrap();
        let payload = postcard::to_allocvec(statement).unwrap();
        [[&[kind, 0], &*whole].concat(), [&[kind, 1], &*payload].concat()]
    }
    [
        both(0, &example::publication()),
        both(1, &example::release()),
        both(2, &example::leases()),
        both(3, &example::reports().0),
        both(4, &example::greeting()),
        both(5, &example::trust()),
    ]
    .concat()
}

/// The bytes of a [`Signed`] statement of that domain with any payload, readable or not, under
/// [`example::key`].
pub(crate) fn sign(domain: &str, payload: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_bytes(&example::key().seed());
    let signature = key.sign(&[domain.as_bytes(), b"\0", payload].concat()).to_bytes();
    let (r, s) = signature.split_at(32);
    let halves: ([u8; 32], [u8; 32]) = (r.try_into().unwrap(), s.try_into().unwrap());
    postcard::to_allocvec(&(key.verifying_key().to_bytes(), payload, halves)).unwrap()
}

/// Bytes from somewhere: whatever is believed was signed with the only key there is, and only once.
fn arrived<T: Statement>(bytes: &[u8]) -> bool {
    let decoded = promise::bounded(bytes.len(), || postcard::from_bytes::<Signed<T>>(bytes));
    let Ok(signed) = decoded else { return false };
    let Ok(verified) = promise::bounded(bytes.len(), || signed.verify_any()) else { return false };
    let again = Signed::new(&example::key(), &*verified);
    let theirs = signed.signer() != example::key().public();
    assert!(theirs || again.digest() == signed.digest(), "one statement with two signatures of one key");
    true
}

/// A payload that was signed: it is a statement or unreadable, and nothing in between.
fn forged<T: Statement>(payload: &[u8]) -> bool {
    let key = example::key().public();
    let signed: Signed<T> = postcard::from_bytes(&sign(T::DOMAIN, payload)).unwrap();
    match promise::bounded(payload.len(), || signed.verify(key)) {
        Ok(verified) => {
            let again = Signed::new(&example::key(), &*verified);
            assert!(again.verify(key).is_ok(), "a statement that was read cannot be written");
            let stranger = PublicKey([9; 32]);
            assert!(matches!(signed.verify(stranger), Err(Untrusted::WrongSigner { .. })), "anybody's statement");
            let elsewhere: Signed<T> = postcard::from_bytes(&sign("manyhands another v1", payload)).unwrap();
            assert!(matches!(elsewhere.verify(key), Err(Untrusted::BadSignature { .. })), "the domain does not count");
            true
        }
        Err(error) => {
            assert!(matches!(error, Untrusted::Unreadable { .. }), "a signature that fits is refused: {error}");
            false
        }
    }
}

/// A trust list is opened as well, at every moment of its life.
fn trust_list(payload: &[u8]) -> bool {
    if !forged::<TrustList>(payload) {
        return false;
    }
    let root = example::key().public();
    let signed: Signed<TrustList> = postcard::from_bytes(&sign(TrustList::DOMAIN, payload)).unwrap();
    let list = signed.verify(root).unwrap().into_inner();
    let release = Signed::new(&example::key(), &example::release());
    for now in [0, 1_500, list.validity.issued_at.0, list.validity.expires_at.0, u64::MAX].map(Timestamp) {
        let Ok(ring) = KeyRing::open(root.fingerprint(), root, &signed, now, 0) else { continue };
        assert!(now < list.validity.expires_at, "a list that expired is believed");
        let trusted = list.keys.iter().find(|trusted| trusted.key == root).is_some_and(|trusted| !trusted.revoked);
        assert!(trusted || ring.verify(&release, now).is_err(), "a key that is not on the list is believed");
    }
    true
}
