//! The authorities that the operator trusts beside those of the operating system: certificates in PEM, in one file.

use std::path::{Path, PathBuf};

use manyhands_egress::CertificateDer;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;

/// What a certificate begins and ends with, between its dashes.
const CERTIFICATE: &str = "CERTIFICATE";
/// Of what somebody else's line says, this much is repeated.
const LABEL_CHARACTERS_MAX: usize = 40;

/// Why the operator's authorities cannot be used. Nothing of the file is in it but what kind of thing begins in a line.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// There is no such file, or it may not be read.
    #[error("{}: cannot be read: {error}; `calls.roots` names a file of certificates in PEM", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{}: there is no certificate in it; put there those of your authorities in PEM, or leave `calls.roots` empty", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// Something in it is no certificate.
    #[error("{}:{line}: what begins here is a {label} and no certificate; leave nothing but certificates in the file", .file.display())]
    Other {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What its first line calls it.
        label: String,
    },
    /// It has no end, or is no Base64.
    #[error("{}:{line}: the certificate that begins here was cut or changed; copy the whole of it again", .file.display())]
    Cut {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It is Base64, but of no certificate.
    #[error("{}:{line}: what begins here cannot be an authority: {why}; export the authority's X.509 certificate as PEM", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: rustls::Error,
    },
}

/// The certificates in `file`, each of which can be an authority; none where no file is named.
///
/// # Errors
/// The first thing in it that cannot be used.
pub fn read(file: &str) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    if file.is_empty() {
        return Ok(Vec::new());
    }
    let file = Path::new(file);
    // What stands between certificates is for people, and in any encoding.
    let bytes = std::fs::read(file).map_err(|error| RootsError::Unreadable { file: file.to_owned(), error })?;
    parse(file, &String::from_utf8_lossy(&bytes))
}

fn parse(file: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let mut certificates = Vec::new();
    // Some editors begin a file with a mark of its encoding.
    let mut lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
    while let Some((line, first)) = lines.next() {
        let Some(label) = label(first, "BEGIN") else { continue };
        if label != CERTIFICATE {
            let label = label.chars().take(LABEL_CHARACTERS_MAX).collect();
            return Err(RootsError::Other { file: file.to_owned(), line, label });
        }
        let cut = || RootsError::Cut { file: file.to_owned(), line };
        let mut section = format!("{first}\n");
        loop {
            let (_, next) = lines.next().ok_or_else(cut)?;
            section.push_str(next);
            section.push('\n');
            if self::label(next, "END") == Some(CERTIFICATE) {
                break;
            }
            // Also where a line's end is missing between two certificates.
            if next.contains("-----") {
                return Err(cut());
            }
        }
        let certificate = CertificateDer::from_pem_slice(section.as_bytes()).map_err(|_| cut())?;
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|why| RootsError::Unusable { file: file.to_owned(), line, why })?;
        certificates.push(certificate);
    }
    if certificates.is_empty() { Err(RootsError::Empty { file: file.to_owned() }) } else { Ok(certificates) }
}

/// What a line such as `-----BEGIN CERTIFICATE-----` names.
fn label<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.trim().strip_prefix("-----")?.strip_prefix(word)?.strip_prefix(' ')?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn authority() -> String {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[track_caller]
    fn complains(text: &str, expected: &str) {
        let error = parse(Path::new("/etc/roots.pem"), text).expect_err("refused").to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(error.contains("; "), "it says what to do: {error}");
    }

    #[test]
    fn certificates_are_read_whatever_stands_between_them() {
        let text = format!("# Ours\n\n{}\nIssuer: nobody else\r\n{}", authority(), authority().replace('\n', "\r\n"));
        assert_eq!(parse(Path::new("/etc/roots.pem"), &text).unwrap().len(), 2);
        let marked = format!("\u{feff}{}", authority());
        assert_eq!(parse(Path::new("/etc/roots.pem"), &marked).unwrap().len(), 1);
        assert_eq!(read("").unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        let good = authority();
        let lines = good.lines().count();
        complains("", "/etc/roots.pem: there is no certificate in it");
        complains("notes only\n", "/etc/roots.pem: there is no certificate in it");
        let next = lines + 1;
        let key = KeyPair::generate().unwrap().serialize_pem();
        complains(&format!("{good}{key}"), &format!("/etc/roots.pem:{next}: what begins here is a PRIVATE KEY"));
        let cut = good.split_inclusive('\n').take(lines - 1).collect::<String>();
        complains(&format!("{good}{cut}"), &format!("/etc/roots.pem:{next}: the certificate that begins here was cut"));
        complains(&format!("{cut}{good}"), "/etc/roots.pem:1: the certificate that begins here was cut");
        complains(&format!("{}{good}", good.trim_end()), "/etc/roots.pem:1: the certificate that begins here was cut");
        complains(&good.replace('M', "*"), "/etc/roots.pem:1: the certificate that begins here was cut");
        let other = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
        complains(&format!("{good}\n{other}"), &format!("/etc/roots.pem:{}: what begins here cannot be", next + 1));
    }

    #[test]
    fn a_key_in_the_wrong_file_is_not_repeated() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let error = parse(Path::new("/etc/roots.pem"), &key).expect_err("refused");
        let middle = key.lines().nth(1).unwrap();
        assert!(!format!("{error} {error:?}").contains(&middle[..16]), "{error:?}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read("/nowhere/roots.pem").expect_err("refused").to_string();
        assert!(error.starts_with("/nowhere/roots.pem: cannot be read: No such file"), "{error}");
    }
}
