//! Which coordinator, and with which token.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::args::{DEFAULT_SERVER, Global, Login};
use crate::client::Client;
use crate::fault::{Exit, Fault, Result};
use crate::screen::Screen;

/// The longest token that is read; real ones have a few dozen characters.
const TOKEN_BYTES_MAX: u64 = 4096;

/// What `manyhands login` remembers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    server: String,
    token: String,
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// A coordinator and the token to show it. Not printable: it holds a secret.
pub struct Access {
    /// The coordinator's address, without a slash at its end.
    pub server: Url,
    /// The bearer token, if there is one.
    pub token: Option<Zeroizing<String>>,
}

impl Access {
    /// Flags before environment before profile before the default.
    ///
    /// The profile's token goes to the profile's server only: `--server` elsewhere must not carry it there.
    ///
    /// # Errors
    /// A bad address, or a file that cannot be read.
    pub fn resolve(global: &Global) -> Result<Self> {
        let saved = match profile_path() {
            Ok(path) => load(&path)?,
            // Without a home there is nothing saved; flags and environment still work.
            Err(_) => None,
        };
        let given_token = given_token(global)?;
        let server = match (&global.server, &saved) {
            (Some(server), _) => parse_server(server)?,
            (None, Some(saved)) => parse_server(&saved.server)?,
            (None, None) => parse_server(DEFAULT_SERVER)?,
        };
        let token = match (given_token, saved) {
            (Some(token), _) => Some(token),
            (None, Some(saved)) if parse_server(&saved.server)? == server => Some(Zeroizing::new(saved.token.clone())),
            (None, _) => None,
        };
        Ok(Self { server, token })
    }
}

/// `manyhands login`: asks the coordinator whether the token is good, and remembers both.
///
/// # Errors
/// No token was given, or the coordinator refuses it. One that cannot be reached is no error: the
/// profile is saved with a remark.
pub async fn login(args: &Login, global: &Global, screen: Screen) -> Result<()> {
    let server = parse_server(&args.url)?;
    let token = given_token(global)?.ok_or_else(|| {
        Fault::usage("no token was given").help("give it as a file, `--token-file FILE`, or on stdin, `--token-file -`")
    })?;
    if server.scheme() == "http" && !is_loopback(&server) {
        screen.note(format_args!("warning: {server} is not encrypted; whoever is on the way can read the token"));
    }
    let access = Access { server, token: Some(token.clone()) };
    match Client::new(&access)?.get::<serde_json::Value>(&["v1", "jobs"], &[]).await {
        Ok(_) => {}
        Err(fault) if fault.exit == Exit::Unreachable => {
            screen.note(format_args!("warning: saved without having been tried: {}", fault.message));
        }
        Err(fault) => return Err(fault),
    }
    let path = profile_path()?;
    let profile = Profile { server: shown(&access.server), token: token.to_string() };
    let text = toml::to_string(&profile).map_err(|error| Fault::bug(format!("cannot write the profile: {error}")))?;
    write_secret(&path, Zeroizing::new(text).as_bytes(), Replace::Yes)?;
    screen.note(format_args!("{} is now the coordinator of this account ({})", profile.server, path.display()));
    Ok(())
}

/// The address without the slash that [`Url`] adds.
pub fn shown(server: &Url) -> String {
    server.as_str().trim_end_matches('/').to_owned()
}

/// Whether the address is this machine, where no proxy and no encryption are needed.
pub fn is_loopback(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<core::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parse_server(text: &str) -> Result<Url> {
    let wrong = |reason: &str| Fault::usage(format!("`{text}` is not a coordinator's address: {reason}"));
    let mut url: Url = text.parse().map_err(|error| wrong(&format!("{error}; expected http://HOST:PORT")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it must not have a query or a fragment (a join link is for `manyhands-runner`)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a token does not belong into the address; use --token-file"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The token of `--token-file`, else that of the environment.
fn given_token(global: &Global) -> Result<Option<Zeroizing<String>>> {
    let (text, source) = match &global.token_file {
        Some(path) if path == Path::new("-") => (read_token(std::io::stdin().lock(), path)?, "stdin".to_owned()),
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|error| Fault::file("read the token file", path, &error))?;
            (read_token(file, path)?, path.display().to_string())
        }
        None => match std::env::var("MANYHANDS_TOKEN") {
            Ok(text) if !text.is_empty() => (Zeroizing::new(text), "$MANYHANDS_TOKEN".to_owned()),
            _ => return Ok(None),
        },
    };
    let token = text.trim();
    // Never show it, not even a wrong one: it may be right but for one character.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::usage(format!("{source} does not hold a token: expected one word of visible characters")));
    }
    Ok(Some(Zeroizing::new(token.to_owned())))
}

fn read_token(source: impl std::io::Read, path: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    match source.take(TOKEN_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Fault::file("read the token file", path, &error)),
    }
}

fn load(path: &Path) -> Result<Option<Profile>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::file("read", path, &error)),
    };
    // Only the bare message: the full one quotes the line, which may be the token's.
    let profile = toml::from_str(&text)
        .map_err(|error: toml::de::Error| Fault::usage(format!("`{}`: {}", path.display(), error.message())));
    profile.map(Some).map_err(|fault| fault.help("`manyhands login` writes a new one"))
}

fn profile_path() -> Result<PathBuf> {
    Ok(user_folder("XDG_CONFIG_HOME", ".config")?.join("profile.toml"))
}

/// The folder `manyhands` below one of the XDG base directories.
///
/// # Errors
/// Neither the variable nor `HOME` is set.
pub fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    // The specification: a relative path in these variables counts as not set.
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)));
    base.map(|base| base.join("manyhands")).ok_or_else(|| Fault::usage(format!("neither ${variable} nor $HOME is set")))
}

/// Whether a file that exists is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Yes.
    Yes,
    /// No: whoever came first wins, and this is an error of kind `AlreadyExists`.
    No,
}

/// Writes a file that only its owner can read, all of it or nothing.
///
/// # Errors
/// The file cannot be written, or exists and must not be replaced.
pub fn write_secret(path: &Path, contents: &[u8], replace: Replace) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fail = |error: std::io::Error| Fault::file("write", path, &error);
    std::fs::create_dir_all(folder).map_err(fail)?;
    // A temporary file has mode 0600 from its first moment.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    file.write_all(contents).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    let persisted = match replace {
        Replace::Yes => file.persist(path),
        Replace::No => file.persist_noclobber(path),
    };
    persisted.map(drop).map_err(|error| fail(error.error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_address_is_normal_or_refused() {
        assert_eq!(shown(&parse_server("http://127.0.0.1:6174/").expect("fine")), "http://127.0.0.1:6174");
        assert_eq!(shown(&parse_server("https://example.org/hands/").expect("fine")), "https://example.org/hands");
        for bad in ["127.0.0.1:6174", "ftp://a", "http://a/join#key_x", "http://user:secret@a", ""] {
            assert_eq!(parse_server(bad).expect_err("refused").exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn this_machine_is_recognised() {
        for (server, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&server.parse().expect("a URL")), expected, "{server}");
        }
    }

    #[test]
    fn a_secret_is_its_owners_alone_and_the_first_writer_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/secret");
        write_secret(&path, b"1", Replace::No).expect("written");
        assert!(write_secret(&path, b"2", Replace::No).is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"1");
        write_secret(&path, b"3", Replace::Yes).expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"3");
        assert_eq!(path.metadata().expect("exists").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_token_is_one_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |text: &str| {
            let path = folder.path().join("token");
            std::fs::write(&path, text).expect("written");
            given_token(&Global { json: false, quiet: false, server: None, token_file: Some(path) })
        };
        assert_eq!(read(" mh_abc \n").expect("a token").as_deref().map(String::as_str), Some("mh_abc"));
        for bad in ["", "\n", "two words", "caf\u{e9}"] {
            let fault = read(bad).expect_err("refused");
            assert!(bad.trim().is_empty() || !fault.message.contains(bad.trim()), "{fault}");
        }
    }
}
