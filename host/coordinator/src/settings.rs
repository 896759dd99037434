//! What an operator can set, from where, and what is wrong with it.
//!
//! Four layers, each over the one before: built-in defaults, a TOML file, environment variables, flags.
//! Every setting has one dotted key, such as `limits.module_bytes_max`, and all layers derive their
//! spelling from it:
//!
//! | layer | spelling |
//! |---|---|
//! | file | `[limits]` then `module_bytes_max = 1048576` |
//! | environment | `MANYHANDS_COORDINATOR__LIMITS__MODULE_BYTES_MAX=1048576` |
//! | flag | `--set limits.module_bytes_max=1048576`, and for the commonest `--listen`, `--data-dir`, `--public-url` |
//!
//! The double underscore keeps apart what Kubernetes invents for a service of that name
//! (`MANYHANDS_COORDINATOR_PORT`). A key that nobody knows is refused in every layer, because a limit with
//! a spelling mistake is a limit that is not there. All mistakes are reported at once.
//!
//! One table at the end of this file declares every setting; add a line there and all of this follows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manyhands_credit::Shares;
use manyhands_model::verb::EffectClass;
use manyhands_scheduler::{Budgets, Floor, Quorum, Rule, Trust};
use toml::de::{DeTable, DeValue};

use crate::backup::retention::Keep;

/// Before every environment variable that is a setting.
pub const ENV_PREFIX: &str = "MANYHANDS_COORDINATOR__";
/// Names another configuration file, as `--config` does.
pub const ENV_CONFIG: &str = "MANYHANDS_COORDINATOR_CONFIG";
/// The configuration file that is read when it exists and no other is named.
pub const CONFIG_FILE: &str = "/etc/manyhands/coordinator.toml";

/// The flags that settings come from. The command line's other flags are its own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Configuration file [default: /etc/manyhands/coordinator.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Address and port to listen at
    #[arg(long, value_name = "IP:PORT", global = true)]
    pub listen: Option<String>,
    /// Where state, keys and blobs are kept
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<String>,
    /// The URL at which workers and developers reach this coordinator
    #[arg(long, value_name = "URL", global = true)]
    pub public_url: Option<String>,
    /// Any setting, as `section.key=value`; can be repeated
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One setting as `config show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its dotted key.
    pub key: &'static str,
    /// Its value, as it would be written in a flag; empty where there is none.
    pub value: String,
    /// Where that came from.
    pub origin: Origin,
    /// What it is for.
    pub about: &'static str,
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// No such setting.
    #[error("{origin}: there is no setting `{name}`{}", .nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// What was written.
        name: String,
        /// The known name that looks most like it, spelled for the same layer.
        nearest: Option<String>,
    },
    /// The setting cannot have that value.
    #[error("{origin}: `{key}` is {found}, expected {expected}")]
    BadValue {
        /// Where it stands.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// What was written.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A `--set` without `=`.
    #[error("flag --set {0}: expected KEY=VALUE, such as limits.module_bytes_max=1048576")]
    NotAnAssignment(String),
    /// The file is not TOML.
    #[error("{}:{line}: not TOML: {message}", .path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// Two settings do not fit each other.
    #[error("`{low}` is {low_value} ({low_origin}), more than `{high}`, which is {high_value} ({high_origin})")]
    Contradiction {
        /// The setting that must not be larger.
        low: &'static str,
        /// Its value.
        low_value: String,
        /// Where that came from.
        low_origin: Origin,
        /// The setting that bounds it.
        high: &'static str,
        /// Its value.
        high_value: String,
        /// Where that came from.
        high_origin: Origin,
    },
    /// There is no place for the data.
    #[error("neither XDG_DATA_HOME nor HOME is set, so there is no default for `data_dir`; give --data-dir")]
    NoHome,
}

/// Everything that is wrong with the configuration, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(pub Vec<Mistake>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads all layers of this process.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub fn load(flags: &Flags) -> Result<Self, SettingsError> {
        // A variable that is not Unicode can be no setting, unless its name says that it wants to be one;
        // its replacement characters then make the value refused.
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self::from_layers(flags, &variables, Path::new(CONFIG_FILE))
    }

    /// Reads all layers, with the environment and the place of the optional file as arguments.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub fn from_layers(
        flags: &Flags,
        variables: &BTreeMap<String, String>,
        config_file: &Path,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers { settings: Self::default(), mistakes: Vec::new() };
        layers.default_data_dir(variables);
        match (&flags.config, variables.get(ENV_CONFIG)) {
            (Some(path), _) => layers.file(path),
            (None, Some(path)) => layers.file(Path::new(path)),
            (None, None) if config_file.exists() => layers.file(config_file),
            (None, None) => {}
        }
        layers.variables(variables);
        layers.flags(flags);
        layers.contradictions();
        if layers.mistakes.is_empty() { Ok(layers.settings) } else { Err(SettingsError(layers.mistakes)) }
    }

    /// Where the key of values is kept that tokens stand for.
    pub fn vault_key(&self) -> PathBuf {
        match self.calls.vault_key.as_str() {
            // Of a directory without a name, such as `.`, nothing is beside it.
            "" if self.data_dir.file_name().is_none() => self.data_dir.join("vault-key"),
            "" => self.data_dir.with_added_extension("vault-key"),
            path => PathBuf::from(path),
        }
    }

    /// Every setting with its value and where that came from, in the order of the documentation.
    pub fn explain(&self) -> Vec<Explained> {
        let explain = |key: &Key| Explained {
            key: key.name,
            value: (key.show)(self),
            origin: self.origin(key.name),
            about: key.about,
        };
        KEYS.iter().map(explain).collect()
    }

    /// A configuration file with every setting: those that somebody set as they are, the others as comments
    /// with their defaults.
    pub fn sample(&self) -> String {
        let mut text = String::from(
            "# Configuration of manyhands-coordinator: every setting with its meaning, range and default.\n\
             # Read from /etc/manyhands/coordinator.toml unless --config names another file. Environment variables\n\
             # and flags go before it; `manyhands-coordinator config show` prints what holds, and why.\n",
        );
        let mut section = "";
        for key in KEYS {
            let (within, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if within != section {
                text += &format!("\n[{within}]\n");
                section = within;
            }
            let (value, set) = ((key.toml)(self), self.origins.contains_key(key.name));
            text += &format!("\n# {}\n# Takes {}.\n", key.about, (key.expected)());
            text += &format!("{}{name} = {value}\n", if set { "" } else { "# " });
        }
        text
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// The settings while they are put together.
struct Layers {
    settings: Settings,
    mistakes: Vec<Mistake>,
}

impl Layers {
    fn default_data_dir(&mut self, variables: &BTreeMap<String, String>) {
        let variable = |name| variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // A relative XDG_DATA_HOME is invalid and to be ignored (XDG Base Directory Specification).
        let base = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
        if let Some(base) = base.or_else(|| variable("HOME").map(|home| home.join(".local/share"))) {
            self.settings.data_dir = base.join("manyhands-coordinator");
        }
    }

    fn file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) => {
                self.mistakes.push(Mistake::Unreadable { path: path.to_owned(), why: why.to_string() });
                return;
            }
        };
        let line_of = |byte: usize| 1 + text.bytes().take(byte).filter(|&b| b == b'\n').count();
        let origin = |byte: usize| Origin::File { path: path.to_owned(), line: line_of(byte) };
        let table = match DeTable::parse(&text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let line = line_of(error.span().map_or(0, |span| span.start));
                let message = error.message().to_owned();
                self.mistakes.push(Mistake::NotToml { path: path.to_owned(), line, message });
                return;
            }
        };
        let earlier = self.mistakes.len();
        // Sections are one level deep, so anything deeper arrives at `apply` as a value of the wrong type.
        for (name, value) in &table {
            let section = name.get_ref();
            match value.get_ref() {
                DeValue::Table(entries) if SECTIONS.contains(&section.as_ref()) => {
                    for (name, value) in entries {
                        let key = format!("{section}.{}", name.get_ref());
                        self.apply(&key, Raw::Toml(value.get_ref()), origin(name.span().start), str::to_owned);
                    }
                }
                DeValue::Table(_) => {
                    self.unknown(origin(name.span().start), section, SECTIONS.iter().copied(), |name| {
                        format!("[{name}]")
                    })
                }
                value => self.apply(section, Raw::Toml(value), origin(name.span().start), str::to_owned),
            }
        }
        // The parser sorts by name; a reader goes by line.
        self.mistakes[earlier..].sort_by_key(|mistake| match mistake {
            Mistake::UnknownKey { origin: Origin::File { line, .. }, .. }
            | Mistake::BadValue { origin: Origin::File { line, .. }, .. } => *line,
            _ => 0,
        });
    }

    fn variables(&mut self, variables: &BTreeMap<String, String>) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let key = rest.replace("__", ".").to_ascii_lowercase();
            // Only the upper-case spelling counts, otherwise two variables could name one setting.
            let key = if rest == rest.to_ascii_uppercase() { key } else { rest.to_owned() };
            self.apply(&key, Raw::Text(value), Origin::Variable(name.clone()), |key| {
                format!("{ENV_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
            });
        }
    }

    fn flags(&mut self, flags: &Flags) {
        for assignment in &flags.set {
            match assignment.split_once('=') {
                Some((key, value)) => {
                    self.apply(key.trim(), Raw::Text(value), Origin::Flag("--set".into()), str::to_owned);
                }
                None => self.mistakes.push(Mistake::NotAnAssignment(assignment.clone())),
            }
        }
        let shorthands = [
            ("listen", "--listen", &flags.listen),
            ("data_dir", "--data-dir", &flags.data_dir),
            ("public_url", "--public-url", &flags.public_url),
        ];
        for (key, flag, value) in shorthands {
            if let Some(value) = value {
                self.apply(key, Raw::Text(value), Origin::Flag(flag.into()), str::to_owned);
            }
        }
    }

    fn apply(&mut self, name: &str, raw: Raw<'_>, origin: Origin, spell: impl Fn(&str) -> String) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return self.unknown(origin, name, KEYS.iter().map(|key| key.name), spell);
        };
        if (key.set)(&mut self.settings, &raw) {
            self.settings.origins.insert(key.name, origin);
        } else {
            let (found, expected) = (raw.to_string(), (key.expected)());
            self.mistakes.push(Mistake::BadValue { origin, key: key.name, found, expected });
        }
    }

    fn unknown(
        &mut self,
        origin: Origin,
        name: &str,
        known: impl Iterator<Item = &'static str>,
        spell: impl Fn(&str) -> String,
    ) {
        let similar = |known: &'static str| {
            // The last word alone counts as well: who forgets the section still means the key.
            let last = known.rsplit('.').next().unwrap_or(known);
            let similarity = strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(name, last));
            (similarity > 0.75).then_some((similarity, known))
        };
        let nearest = known.filter_map(similar).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| spell(known));
        self.mistakes.push(Mistake::UnknownKey { origin, name: spell(name), nearest });
    }

    fn contradictions(&mut self) {
        let settings = &self.settings;
        if settings.data_dir.as_os_str().is_empty() {
            self.mistakes.push(Mistake::NoHome);
        }
        let value =
            |name: &str| KEYS.iter().find(|key| key.name == name).map(|key| (key.show)(settings)).unwrap_or_default();
        for (low, high) in AT_MOST {
            let (low_value, high_value) = (value(low), value(high));
            let (low_number, high_number) = (low_value.parse::<u64>(), high_value.parse::<u64>());
            if low_number.is_ok_and(|low| high_number.is_ok_and(|high| low > high)) {
                let (low_origin, high_origin) = (settings.origin(low), settings.origin(high));
                self.mistakes.push(Mistake::Contradiction {
                    low,
                    low_value,
                    low_origin,
                    high,
                    high_value,
                    high_origin,
                });
            }
        }
    }
}

/// A value as its layer writes it. TOML has types, and a number in quotes is a mistake there.
enum Raw<'a> {
    Text(&'a str),
    Toml(&'a DeValue<'a>),
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Toml(DeValue::String(text)) => write!(f, "{text:?}"),
            Self::Toml(DeValue::Integer(number)) => f.write_str(number.as_str()),
            Self::Toml(DeValue::Boolean(value)) => value.fmt(f),
            Self::Toml(other) => write!(f, "of type {}", other.type_str()),
        }
    }
}

impl Raw<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Toml(value) => value.as_str(),
        }
    }
}

/// A type that a setting can have.
trait Value: Sized {
    /// What narrows the type for one setting.
    type Rule;
    fn parse(raw: &Raw<'_>, rule: &Self::Rule) -> Option<Self>;
    fn expected(rule: &Self::Rule) -> String;
    fn show(&self) -> String;
    /// As a configuration file spells it.
    fn toml(&self) -> String {
        toml::Value::String(self.show()).to_string()
    }
}

macro_rules! whole_numbers {
    ($($type:ty)*) => { $(
        impl Value for $type {
            type Rule = RangeInclusive<$type>;

            fn parse(raw: &Raw<'_>, rule: &Self::Rule) -> Option<Self> {
                let number = match raw {
                    Raw::Text(text) => text.trim().replace('_', "").parse().ok(),
                    Raw::Toml(value) => value.as_integer().and_then(|n| Self::from_str_radix(n.as_str(), n.radix()).ok()),
                };
                number.filter(|number| rule.contains(number))
            }

            fn expected(rule: &Self::Rule) -> String {
                format!("a whole number from {} to {}", rule.start(), rule.end())
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn toml(&self) -> String {
                self.show()
            }
        }
    )* };
}
whole_numbers!(u8 u16 u32 u64);

impl Value for SocketAddr {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        raw.text()?.parse().ok()
    }

    fn expected((): &()) -> String {
        "an IP address and a port, such as 127.0.0.1:6174 or [::]:6174".into()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        raw.text().filter(|text| !text.is_empty()).map(Self::from)
    }

    fn expected((): &()) -> String {
        "the path of a directory".into()
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

/// The rule of a directory that need not be.
struct Absolute;

impl Value for Option<PathBuf> {
    type Rule = Absolute;

    fn parse(raw: &Raw<'_>, _: &Absolute) -> Option<Self> {
        match raw.text()? {
            "" => Some(None),
            // A relative one would depend on where the coordinator happens to be started.
            text => Some(Some(PathBuf::from(text))).filter(|path| path.as_ref().is_some_and(|path| path.is_absolute())),
        }
    }

    fn expected(_: &Absolute) -> String {
        "the path of a directory from the root, such as /var/backups/manyhands; empty for none".into()
    }

    fn show(&self) -> String {
        self.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// The rule of [`Settings::public_url`].
struct Origins;

impl Value for Option<String> {
    type Rule = Origins;

    fn parse(raw: &Raw<'_>, _: &Origins) -> Option<Self> {
        let text = raw.text()?;
        if text.is_empty() {
            return Some(None);
        }
        let uri: axum::http::Uri = text.parse().ok()?;
        let usable = matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.path_and_query().is_none_or(|path| path == "/")
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        usable.then(|| Some(text.trim_end_matches('/').to_owned()))
    }

    fn expected(_: &Origins) -> String {
        "http:// or https://, a host and perhaps a port, such as https://work.example.org; empty for none".into()
    }

    fn show(&self) -> String {
        self.clone().unwrap_or_default()
    }
}

/// Origins that calls may reach wherever they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(pub Vec<manyhands_addresses::Origin>);

impl Value for AllowedOrigins {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        let origins = raw.text()?.split_ascii_whitespace().map(|origin| origin.parse().ok());
        origins.collect::<Option<Vec<_>>>().map(Self)
    }

    fn expected((): &()) -> String {
        "origins with blanks between them, such as http://10.0.0.5:8080; empty for none".into()
    }

    fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

impl Value for LogFormat {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "auto" => Some(Self::Auto),
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn expected((): &()) -> String {
        "auto, text or json".into()
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
        .into()
    }
}

/// When an outcome counts where a run does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsualRule(pub Option<Rule>);

impl Value for UsualRule {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "" => Some(Self(None)),
            text => text.parse().ok().map(Some).map(Self),
        }
    }

    fn expected((): &()) -> String {
        "a rule such as adaptive:1e-4, full:1e-6, audited or 2of4; empty for `scheduling.replicas` of `scheduling.replicas_max`".into()
    }

    fn show(&self) -> String {
        self.0.map(|rule| rule.to_string()).unwrap_or_default()
    }
}

/// Addresses of reverse proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(pub Vec<IpAddr>);

impl Value for Proxies {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        let addresses = raw.text()?.split_ascii_whitespace().map(|address| address.parse::<IpAddr>().ok());
        addresses.map(|address| address.map(|it| it.to_canonical())).collect::<Option<Vec<_>>>().map(Self)
    }

    fn expected((): &()) -> String {
        "IP addresses with blanks between them, such as 127.0.0.1; empty for none".into()
    }

    fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Who may join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// Everybody.
    #[default]
    Open,
    /// Whoever shows an invitation.
    Invited,
}

impl Value for Join {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "open" => Some(Self::Open),
            "invited" => Some(Self::Invited),
            _ => None,
        }
    }

    fn expected((): &()) -> String {
        "open or invited".into()
    }

    fn show(&self) -> String {
        match self {
            Self::Open => "open".into(),
            Self::Invited => "invited".into(),
        }
    }
}

/// Who executes units in the operator's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auditor {
    /// A runner that the coordinator starts when it is first needed, and those that the operator trusts.
    #[default]
    Own,
    /// Those that the operator trusts.
    Trusted,
    /// Nobody.
    Off,
}

impl Value for Auditor {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "own" => Some(Self::Own),
            "trusted" => Some(Self::Trusted),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    fn expected((): &()) -> String {
        "own, trusted or off".into()
    }

    fn show(&self) -> String {
        self.word().into()
    }
}

impl Auditor {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Trusted => "trusted",
            Self::Off => "off",
        }
    }
}

/// What stands behind a call that cannot be taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Irreversible {
    /// The operator's own machine.
    #[default]
    Audited,
    /// As much as behind other calls that do something.
    Agreed,
}

impl Value for Irreversible {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "audited" => Some(Self::Audited),
            "agreed" => Some(Self::Agreed),
            _ => None,
        }
    }

    fn expected((): &()) -> String {
        "audited or agreed".into()
    }

    fn show(&self) -> String {
        match self {
            Self::Audited => "audited",
            Self::Agreed => "agreed",
        }
        .into()
    }
}

/// Whose accepted results answer the same question again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeats {
    /// Nobody's: every invocation is executed.
    Off,
    /// The requester's own.
    #[default]
    Own,
    /// Everybody's, which tells each how soon another asked the same.
    All,
}

impl Value for Repeats {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "off" => Some(Self::Off),
            "own" => Some(Self::Own),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    fn expected((): &()) -> String {
        "off, own or all".into()
    }

    fn show(&self) -> String {
        match self {
            Self::Off => "off",
            Self::Own => "own",
            Self::All => "all",
        }
        .into()
    }
}

impl Value for Budgets {
    type Rule = ();

    fn parse(raw: &Raw<'_>, (): &()) -> Option<Self> {
        match raw.text()? {
            "off" => Some(Self::Off),
            "deposited" => Some(Self::Deposited),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    fn expected((): &()) -> String {
        "off, deposited or all".into()
    }

    fn show(&self) -> String {
        match self {
            Self::Off => "off",
            Self::Deposited => "deposited",
            Self::All => "all",
        }
        .into()
    }
}

impl Value for String {
    /// Whether a text will do, and what to say if not.
    type Rule = (fn(&str) -> bool, &'static str);

    fn parse(raw: &Raw<'_>, rule: &Self::Rule) -> Option<Self> {
        raw.text().filter(|text| (rule.0)(text)).map(Self::from)
    }

    fn expected(rule: &Self::Rule) -> String {
        rule.1.into()
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// A setting as the layers see it.
struct Key {
    name: &'static str,
    about: &'static str,
    set: fn(&mut Settings, &Raw<'_>) -> bool,
    show: fn(&Settings) -> String,
    toml: fn(&Settings) -> String,
    expected: fn() -> String,
}

/// Declares each setting once: `/// about`, `name: type = default, rule;`.
macro_rules! settings {
    (
        { $( #[doc = $about:literal] $key:ident : $type:ty = $default:expr, $rule:expr; )* }
        $( $(#[$section_about:meta])* $section:ident : $Section:ident {
            $( #[doc = $in_about:literal] $in_key:ident : $in_type:ty = $in_default:expr, $in_rule:expr; )*
        } )*
    ) => {
        /// All settings. Only [`Settings::load`] and its sisters make one, so every value is in its range.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $( #[doc = $about] pub $key: $type, )*
            $( $(#[$section_about])* pub $section: $Section, )*
            origins: BTreeMap<&'static str, Origin>,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $( $key: $default, )* $( $section: $Section::default(), )* origins: BTreeMap::new() }
            }
        }

        $(
            $(#[$section_about])*
            #[derive(Clone, Debug)]
            pub struct $Section {
                $( #[doc = $in_about] pub $in_key: $in_type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $in_key: $in_default, )* }
                }
            }
        )*

        const SECTIONS: &[&str] = &[ $( stringify!($section) ),* ];

        const KEYS: &[Key] = &[
            $( settings!(@key stringify!($key), $about, ($key), $type, $rule), )*
            $( $( settings!(@key concat!(stringify!($section), ".", stringify!($in_key)), $in_about,
                            ($section.$in_key), $in_type, $in_rule), )* )*
        ];
    };
    (@key $name:expr, $about:literal, ($($path:tt)+), $type:ty, $rule:expr) => {
        Key {
            name: $name,
            about: $about.trim_ascii(),
            set: |settings, raw| match <$type as Value>::parse(raw, &$rule) {
                Some(value) => {
                    settings.$($path)+ = value;
                    true
                }
                None => false,
            },
            show: |settings| Value::show(&settings.$($path)+),
            toml: |settings| Value::toml(&settings.$($path)+),
            expected: || <$type as Value>::expected(&$rule),
        }
    };
}

fn is_path(text: &str) -> bool {
    text.is_empty() || Path::new(text).is_absolute()
}

fn is_line(text: &str) -> bool {
    text.chars().count() <= 100 && !text.chars().any(char::is_control)
}

fn is_text(text: &str) -> bool {
    text.chars().count() <= 1000 && !text.chars().any(|c| c.is_control() && c != '\n')
}

/// No other scheme: a browser may execute what such a link holds.
fn is_link(text: &str) -> bool {
    let schemes = ["https://", "http://", "mailto:"];
    text.is_empty() || (is_line(text) && schemes.iter().any(|scheme| text.starts_with(scheme)))
}

/// Pairs of settings where the first must not be larger than the second.
const AT_MOST: &[(&str, &str)] = &[
    ("scheduling.replicas", "scheduling.replicas_max"),
    ("limits.input_bytes_max", "limits.run_body_bytes_max"),
    ("limits.connections_per_address_max", "limits.connections_max"),
    ("limits.units_per_run_max", "limits.queued_units_max"),
];

const MIB: u64 = 1 << 20;

settings! {
    {
        /// Address and port to listen at; port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 6174)), ();
        /// Where state, keys and blobs are kept; by default in the user's data directory.
        data_dir: PathBuf = PathBuf::new(), ();
        /// The URL at which workers and developers reach this coordinator; by default the address listened at.
        public_url: Option<String> = None, Origins;
    }

    /// Bounds on what others can make the coordinator do.
    limits: Limits {
        /// Longest module that can be published.
        module_bytes_max: u64 = 16 * MIB, 1024..=16 * MIB;
        /// Longest input of a unit.
        input_bytes_max: u64 = 16 * MIB, 1..=16 * MIB;
        /// Longest body of a run's submission, all inputs together.
        run_body_bytes_max: u64 = 4096 * MIB, 1024..=1 << 40;
        /// Longest body of every other request.
        body_bytes_max: u64 = 64 << 10, 1024..=16 * MIB;
        /// Most inputs of one run.
        units_per_run_max: u64 = 2_000_000, 1..=100_000_000;
        /// Most units without an answer, over all runs; further runs wait their turn outside.
        queued_units_max: u64 = 5_000_000, 1..=1_000_000_000;
        /// Most runs that are active at the same time.
        active_runs_max: u64 = 10_000, 1..=1_000_000;
        /// Most connections at the same time, workers included.
        connections_max: u32 = 4096, 1..=1_000_000;
        /// Most connections at the same time from one IP address.
        connections_per_address_max: u32 = 1024, 1..=1_000_000;
        /// Longest request head.
        header_bytes_max: u64 = 32 << 10, 8192..=MIB;
        /// Time for a request head to arrive, and for an idle connection to say something.
        header_timeout_ms: u64 = 15_000, 1..=3_600_000;
        /// Time without a byte after which a request's body is given up.
        body_idle_timeout_ms: u64 = 30_000, 1..=3_600_000;
        /// Time after which a client that takes nothing of its response is cut off.
        write_idle_timeout_ms: u64 = 30_000, 1..=3_600_000;
        /// Slowest rate at which bodies may come and responses may be taken, beyond those times; 0 for none.
        bytes_per_second_min: u64 = 256, 0..=MIB;
        /// Most bytes that are held of what is being sent, over all connections, and as many of what slow readers wait for.
        intake_bytes_max: u64 = 32 * MIB, 24 * MIB..=1 << 40;
        /// Time for requests in flight to finish when the coordinator stops.
        drain_timeout_ms: u64 = 10_000, 1..=3_600_000;
        /// Longest wait of a synchronous invocation.
        invoke_timeout_ms_max: u64 = 300_000, 1..=3_600_000;
        /// Most workers connected at the same time.
        workers_max: u32 = 2048, 1..=1_000_000;
        /// Most messages waiting for one worker; one that falls further behind is disconnected.
        worker_queue_max: u32 = 256, 1..=1_000_000;
        /// How often a worker must say something, at least a ping; three times silent means gone.
        heartbeat_ms: u64 = 20_000, 1_000..=300_000;
        /// Most events waiting for the scheduler; whoever brings more waits.
        core_queue_max: u32 = 4096, 1..=1_000_000;
    }

    /// How often each may come. Whoever comes more often is told when to come again, or waits.
    throttling: Throttling {
        /// Requests a second without a token from one IP address, connecting workers included; 0 for no limit. Behind a proxy all of them are from one.
        address_per_second: u32 = 2_000, 0..=1_000_000;
        /// Requests a second with one requester's token; 0 for no limit.
        requester_per_second: u32 = 200, 0..=1_000_000;
        /// Requests a second with one developer's token; 0 for no limit.
        developer_per_second: u32 = 500, 0..=1_000_000;
        /// Requests a second with one operator's token; 0 for no limit.
        operator_per_second: u32 = 2_000, 0..=1_000_000;
        /// Connections a second of one worker; 0 for no limit.
        worker_connections_per_second: u32 = 20, 0..=1_000_000;
        /// Messages a second, pings included, that a worker may send without work; what it sends beyond waits.
        worker_messages_per_second: u32 = 10, 1..=1_000_000;
        /// Calls a second that are made for one requester; others wait their turn. 0 for no limit.
        requester_calls_per_second: u32 = 1_000, 0..=1_000_000;
        /// Calls a second that are made for one job, whoever runs it; others wait their turn. 0 for no limit.
        job_calls_per_second: u32 = 2_000, 0..=1_000_000;
        /// How many seconds' worth may come at once from whoever was quiet for as long.
        burst_seconds: u32 = 10, 1..=3_600;
        /// Most addresses that are remembered, and as many workers; beyond, whoever was quiet for longest is forgotten.
        remembered_max: u32 = 65_536, 1_024..=16_777_216;
    }

    /// Calls that jobs ask for, and the values that they stand for.
    calls: CallSettings {
        /// Origins that calls may reach although they are not on the public internet, and in clear.
        allow: AllowedOrigins = AllowedOrigins::default(), ();
        /// File of certificates in PEM, of authorities whose servers are called as well as those of the operating system's; it is read at the start.
        roots: String = String::new(), (is_path, "the path of a file from the root; empty for none");
        /// File with the key of the values that tokens stand for; by default beside the data directory. Copy it, but not to where the backups are.
        vault_key: String = String::new(), (is_path, "the path of a file from the root; empty for one beside the data directory");
        /// How long values are kept after their run has ended; then its results show tokens.
        values_ms: u64 = 30 * 24 * 3_600_000, 0..=100 * 365 * 24 * 3_600_000;
        /// How long a call of which nobody knows whether it was made waits for the operator, before the job hears so.
        unknown_ms: u64 = 3_600_000, 0..=30 * 24 * 3_600_000;
    }

    /// How work is handed out.
    scheduling: Scheduling {
        /// Equal outcomes that make an answer, where a run does not say.
        replicas: u8 = 2, 1..=16;
        /// Outcomes after which a unit without an answer fails, where a run does not say.
        replicas_max: u8 = 4, 1..=16;
        /// How long a worker may keep a unit without reporting, beyond the job's own wall-time limit.
        lease_ms: u64 = 60_000, 100..=86_400_000;
        /// The largest share of one run's units that one worker is given, in thousandths, where answers are earned: so nobody sees much of it. More where few workers are at work.
        run_share_permille: u16 = 250, 1..=1000;
        /// The largest share of one run's units that all workers of one owner together are given, in thousandths, where answers are earned.
        owner_share_permille: u16 = 250, 1..=1000;
        /// The largest share of what is given out of one requester's units that one worker gets, in thousandths, where answers are earned, whatever runs they are of.
        requester_share_permille: u16 = 250, 1..=1000;
        /// Units of one run, or of one requester, that a worker is given whatever share that is, where answers are earned.
        run_units_min: u32 = 256, 0..=1_000_000;
        /// Whose accepted results answer the same invocation of a pure job again: nobody's (`off`), the requester's own (`own`) or everybody's (`all`).
        repeats: Repeats = Repeats::Own, ();
    }

    /// What a worker's word is worth.
    verification: Verification {
        /// When an outcome counts, where a run does not say: a rule such as `adaptive:1e-4`; empty for as many equal outcomes as `scheduling.replicas` says.
        rule: UsualRule = UsualRule(None), ();
        /// What stands behind a call that cannot be taken back: the operator's own machine (`audited`), or as much as behind other calls (`agreed`).
        irreversible: Irreversible = Irreversible::Audited, ();
        /// How many of a hundred independent workers are assumed to be hostile.
        hostile_percent: u8 = 30, 1..=90;
        /// How often a worker must have been found right to have a record.
        record_checks: u32 = 100, 1..=1_000_000;
        /// Connected workers with a record below which newcomers are tried, and the operator's machine says more.
        records_min: u32 = 8, 1..=10_000;
        /// Who executes units in the operator's name: a runner that the coordinator starts when it needs one, and those that are trusted (`own`), the latter alone (`trusted`), nobody (`off`).
        auditor: Auditor = Auditor::Own, ();
        /// Of a thousand accepted units, how many the operator's machine executes as well at most; of a third of them somebody disputed the answer.
        audits_permille: u32 = 30, 0..=1_000;
        /// Disputes that it settles beyond that, once.
        audits_burst: u32 = 2_000, 0..=1_000_000;
        /// Units that wait for it at the same time, those that it executes included.
        audits_at_once: u32 = 16, 1..=1_024;
        /// Units that the coordinator's own auditor executes at the same time.
        auditor_slots: u32 = 1, 1..=256;
        /// Of each thousand inputs, how many are made up besides and given to workers as well, where words have to be earned; 0: none.
        decoys_permille: u32 = 20, 0..=500;
        /// Workers whose IPv4 addresses begin with so many equal bits are one voice; 0: an address says nothing.
        ipv4_bits: u8 = 24, 0..=32;
        /// The same of IPv6 addresses.
        ipv6_bits: u8 = 48, 0..=128;
        /// Reverse proxies, who are believed when `x-forwarded-for` says where a worker is.
        proxies: Proxies = Proxies::default(), ();
    }

    /// What workers get for their fuel, and what requesters may use up.
    credit: Credit {
        /// What the first replica with a unit's answer is paid of its fuel, in thousandths.
        first_permille: u16 = 1000, 0..=1000;
        /// What each further replica with the same answer is paid of its fuel, in thousandths.
        verifier_permille: u16 = 1000, 0..=1000;
        /// Whose runs stop when what was deposited is used up: nobody's (`off`), those of requesters for whom something ever was (`deposited`) or everybody's (`all`).
        budgets: Budgets = Budgets::Deposited, ();
    }

    /// Backups that the coordinator makes by itself.
    backup: Backup {
        /// Where backups are kept, best on another disk; empty: none are made.
        dir: Option<PathBuf> = None, Absolute;
        /// How often one is made.
        every_minutes: u32 = 60, 1..=525_600;
        /// Hours of which the last backup is kept.
        keep_hourly: u32 = 24, 0..=10_000;
        /// Days of which the last backup is kept.
        keep_daily: u32 = 7, 0..=10_000;
        /// Weeks of which the last backup is kept.
        keep_weekly: u32 = 4, 0..=10_000;
    }

    /// Whose computers may help.
    workers: Workers {
        /// Who may join: everybody (`open`), or workers that show an invitation, which `manyhands invite create` makes (`invited`).
        join: Join = Join::Open, ();
    }

    /// What visitors of the page `/volunteer` read.
    volunteers: Volunteers {
        /// Who asks for help; by default the host of the public URL.
        name: String = String::new(), (is_line, "a line of at most 100 characters");
        /// What for, in a sentence or two.
        about: String = String::new(), (is_text, "a text of at most 1000 characters");
        /// Where to ask back.
        contact: String = String::new(), (is_link, "a link that begins with https://, http:// or mailto:; empty for none");
    }

    /// What is logged, and how.
    log: Log {
        /// How log lines look: `auto` is text on a terminal and JSON elsewhere.
        format: LogFormat = LogFormat::Auto, ();
        /// What is logged: a level, or directives such as `info,manyhands_coordinator=debug`.
        filter: String = "info".into(), (crate::log::is_filter, "a level or directives, such as info,manyhands_coordinator=debug");
    }
}

impl Verification {
    /// What the scheduler makes of it.
    pub fn trust(&self) -> Trust {
        let audits_in_flight_max = if self.auditor == Auditor::Off { 0 } else { self.audits_at_once as usize };
        Trust {
            hostile: f64::from(self.hostile_percent) / 100.0,
            established_checks: self.record_checks,
            audit_share: f64::from(self.audits_permille) / 1000.0,
            audit_burst: self.audits_burst.into(),
            audits_in_flight_max,
            core_min: self.records_min as usize,
            ..Trust::default()
        }
    }

    /// What a job takes whose verbs have these effects.
    pub fn floor(&self, effects: impl IntoIterator<Item = EffectClass>) -> Floor {
        let irreversible = match self.irreversible {
            Irreversible::Audited => Floor::Proven,
            Irreversible::Agreed => Floor::Agreed,
        };
        Floor::of(effects, irreversible)
    }
}

impl Scheduling {
    /// When an outcome counts where nobody says anything else.
    pub const fn quorum(&self) -> Quorum {
        Quorum { agree: self.replicas, most: self.replicas_max }
    }
}

impl Credit {
    /// Who gets how much.
    pub const fn shares(&self) -> Shares {
        Shares { first_permille: self.first_permille, verifier_permille: self.verifier_permille }
    }
}

impl Backup {
    /// Which backups are kept.
    pub const fn keep(&self) -> Keep {
        Keep { hourly: self.keep_hourly, daily: self.keep_daily, weekly: self.keep_weekly }
    }

    /// How often one is made.
    pub const fn every(&self) -> Duration {
        Duration::from_secs(60 * self.every_minutes as u64)
    }
}

impl Limits {
    /// Time for a request head to arrive.
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// Time without a byte after which a request's body is given up.
    pub const fn body_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.body_idle_timeout_ms)
    }

    /// Time after which a client that takes nothing of its response is cut off.
    pub const fn write_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.write_idle_timeout_ms)
    }

    /// How often a worker must say something.
    pub const fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// Time for requests in flight to finish when the coordinator stops.
    pub const fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator's machine: a file, variables and flags. Says what came of it.
    struct Machine {
        dir: tempfile::TempDir,
        variables: BTreeMap<String, String>,
        flags: Flags,
    }

    impl Machine {
        fn new() -> Self {
            let variables = BTreeMap::from([("HOME".to_owned(), "/home/ada".to_owned())]);
            Self { dir: tempfile::tempdir().unwrap(), variables, flags: Flags::default() }
        }

        fn file(mut self, text: &str) -> Self {
            let path = self.dir.path().join("c.toml");
            std::fs::write(&path, text).unwrap();
            self.flags.config = Some(path);
            self
        }

        fn variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.into(), value.into());
            self
        }

        fn set(mut self, assignment: &str) -> Self {
            self.flags.set.push(assignment.into());
            self
        }

        fn load(&self) -> Result<Settings, SettingsError> {
            Settings::from_layers(&self.flags, &self.variables, &self.dir.path().join("none.toml"))
        }

        #[track_caller]
        fn complains(&self, expected: &[&str]) {
            let error = self.load().expect_err("a mistake was made");
            let dir = format!("{}/", self.dir.path().display());
            let said: Vec<_> = error.0.iter().map(|mistake| mistake.to_string().replace(&dir, "")).collect();
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        let settings = Machine::new().load().unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:6174");
        assert_eq!(settings.data_dir, Path::new("/home/ada/.local/share/manyhands-coordinator"));
        assert_eq!((settings.scheduling.replicas, settings.scheduling.replicas_max), (2, 4));
        assert!(settings.limits.units_per_run_max >= 1_000_000);
    }

    #[test]
    fn every_default_is_in_its_own_range() {
        let settings = Machine::new().load().unwrap();
        for key in KEYS {
            let shown = (key.show)(&settings);
            let mut again = settings.clone();
            assert!((key.set)(&mut again, &Raw::Text(&shown)), "{} = {shown}, expected {}", key.name, (key.expected)());
            assert_eq!((key.show)(&again), shown);
        }
    }

    #[test]
    fn each_layer_goes_over_the_one_before() {
        let file = "[limits]\nmodule_bytes_max = 2048\ninput_bytes_max = 2_048\nbody_bytes_max = 0x800";
        let machine = Machine::new()
            .file(file)
            .variable("MANYHANDS_COORDINATOR__LIMITS__INPUT_BYTES_MAX", "3000")
            .variable("MANYHANDS_COORDINATOR__LIMITS__BODY_BYTES_MAX", "3000")
            .set("limits.body_bytes_max=4000");
        let limits = machine.load().unwrap().limits;
        assert_eq!((limits.module_bytes_max, limits.input_bytes_max, limits.body_bytes_max), (2048, 3000, 4000));
    }

    #[test]
    fn a_short_flag_goes_over_everything() {
        let mut machine = Machine::new().file("listen = '127.0.0.1:1'").set("listen=127.0.0.1:2");
        machine.flags.listen = Some("[::1]:3".into());
        assert_eq!(machine.load().unwrap().listen.to_string(), "[::1]:3");
    }

    #[test]
    fn the_usual_file_is_read_when_it_is_there() {
        let machine = Machine::new();
        let usual = machine.dir.path().join("coordinator.toml");
        std::fs::write(&usual, "public_url = 'https://work.example.org/'").unwrap();
        let settings = Settings::from_layers(&machine.flags, &machine.variables, &usual).unwrap();
        assert_eq!(settings.public_url.as_deref(), Some("https://work.example.org"));
    }

    #[test]
    fn every_value_tells_where_it_came_from() {
        let settings = Machine::new()
            .file("# mine\n[scheduling]\nreplicas = 3\n")
            .variable("MANYHANDS_COORDINATOR__LISTEN", "0.0.0.0:80")
            .set("log.format=json")
            .load()
            .unwrap();
        let explained = settings.explain();
        let of = |key| {
            let found = explained.iter().find(|explained| explained.key == key).unwrap();
            let origin = found.origin.to_string();
            (found.value.clone(), origin.rsplit('/').next().unwrap().to_owned())
        };
        assert_eq!(of("scheduling.replicas"), ("3".into(), "c.toml:3".into()));
        assert_eq!(of("listen"), ("0.0.0.0:80".into(), "environment variable MANYHANDS_COORDINATOR__LISTEN".into()));
        assert_eq!(of("log.format"), ("json".into(), "flag --set".into()));
        assert_eq!(of("log.filter"), ("info".into(), "default".into()));
        assert!(explained.iter().all(|explained| !explained.about.is_empty()));
    }

    #[test]
    fn the_sample_sets_what_was_set_and_nothing_else() {
        let settings = Machine::new().set("limits.workers_max=7").set("data_dir=/srv/\"a\"").load().unwrap();
        let sample = settings.sample();
        let again = Machine::new().file(&sample).load().unwrap();
        let set = |settings: &Settings| settings.origins.keys().copied().collect::<Vec<_>>();
        assert_eq!(set(&again), ["data_dir", "limits.workers_max"], "{sample}");
        assert_eq!((again.data_dir, again.limits.workers_max), (settings.data_dir, 7));
    }

    #[test]
    fn every_line_of_the_sample_can_be_uncommented() {
        let sample = Machine::new().load().unwrap().sample();
        let all: String = sample
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let settings = Machine::new().file(&all).load().unwrap();
        let (first, second) = (settings.explain(), Machine::new().load().unwrap().explain());
        assert_eq!(settings.origins.len(), KEYS.len(), "{all}");
        for (set, default) in first.iter().zip(&second) {
            assert_eq!(set.value, default.value, "{}", set.key);
        }
    }

    #[test]
    fn unknown_names_are_refused_in_every_layer_and_all_at_once() {
        Machine::new()
            .file("lisen = '127.0.0.1:1'\n[limits]\nmodule_byte_max = 1\n[limit]\nx = 1\n[log]\nzzz = 1")
            .variable("MANYHANDS_COORDINATOR__SCHEDULING__REPLICA", "2")
            .set("module_bytes_max=4096")
            .set("oops")
            .complains(&[
                "c.toml:1: there is no setting `lisen`; did you mean `listen`?",
                "c.toml:3: there is no setting `limits.module_byte_max`; did you mean `limits.module_bytes_max`?",
                "c.toml:4: there is no setting `[limit]`; did you mean `[limits]`?",
                "c.toml:7: there is no setting `log.zzz`",
                "environment variable MANYHANDS_COORDINATOR__SCHEDULING__REPLICA: there is no setting \
                 `MANYHANDS_COORDINATOR__SCHEDULING__REPLICA`; did you mean \
                 `MANYHANDS_COORDINATOR__SCHEDULING__REPLICAS`?",
                "flag --set: there is no setting `module_bytes_max`; did you mean `limits.module_bytes_max`?",
                "flag --set oops: expected KEY=VALUE, such as limits.module_bytes_max=1048576",
            ]);
    }

    #[test]
    fn a_bad_value_names_the_key_the_place_and_what_is_expected() {
        Machine::new()
            .file("listen = 'here'\npublic_url = 'ftp://x'\n[limits]\nmodule_bytes_max = '4096'\n[scheduling]\nreplicas = [2]")
            .variable("MANYHANDS_COORDINATOR__LIMITS__WORKERS_MAX", "0")
            .set("log.format=xml")
            .set("log.filter=a=b=c")
            .complains(&[
                "c.toml:1: `listen` is \"here\", expected an IP address and a port, such as 127.0.0.1:6174 or [::]:6174",
                "c.toml:2: `public_url` is \"ftp://x\", expected http:// or https://, a host and perhaps a port, \
                 such as https://work.example.org; empty for none",
                "c.toml:4: `limits.module_bytes_max` is \"4096\", expected a whole number from 1024 to 16777216",
                "c.toml:6: `scheduling.replicas` is of type array, expected a whole number from 1 to 16",
                "environment variable MANYHANDS_COORDINATOR__LIMITS__WORKERS_MAX: `limits.workers_max` is \"0\", \
                 expected a whole number from 1 to 1000000",
                "flag --set: `log.format` is \"xml\", expected auto, text or json",
                "flag --set: `log.filter` is \"a=b=c\", expected a level or directives, such as \
                 info,manyhands_coordinator=debug",
            ]);
    }

    #[test]
    fn a_directory_for_backups_is_absolute_or_none() {
        let dir = |value: &str| Machine::new().set(&format!("backup.dir={value}")).load().map(|set| set.backup.dir);
        assert_eq!(dir("/srv/b"), Ok(Some("/srv/b".into())));
        assert_eq!(dir(""), Ok(None));
        Machine::new().set("backup.dir=b").complains(&["flag --set: `backup.dir` is \"b\", expected the path of a \
             directory from the root, such as /var/backups/manyhands; empty for none"]);
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        Machine::new().set("scheduling.replicas=5").complains(&[
            "`scheduling.replicas` is 5 (flag --set), more than `scheduling.replicas_max`, which is 4 (default)",
        ]);
    }

    #[test]
    fn a_file_that_is_not_toml_or_not_there_is_named() {
        Machine::new().file("a = 1\nb = = 2").complains(&["c.toml:2: not TOML: extra `=`, expected nothing"]);
        let mut machine = Machine::new();
        machine.flags.config = Some(machine.dir.path().join("gone.toml"));
        machine.complains(&["gone.toml: cannot be read: No such file or directory (os error 2)"]);
    }

    #[test]
    fn without_a_home_the_data_directory_must_be_named() {
        let mut machine = Machine::new();
        machine.variables.clear();
        machine.complains(&[
            "neither XDG_DATA_HOME nor HOME is set, so there is no default for `data_dir`; give --data-dir",
        ]);
        machine.flags.data_dir = Some("/srv/manyhands".into());
        assert_eq!(machine.load().unwrap().data_dir, Path::new("/srv/manyhands"));
    }

    #[test]
    fn variables_of_others_are_none_of_our_business() {
        let machine =
            Machine::new().variable("MANYHANDS_COORDINATOR_PORT", "tcp://10.0.0.1:80").variable("MANYHANDS_TOKEN", "x");
        assert!(machine.load().is_ok());
    }
}
