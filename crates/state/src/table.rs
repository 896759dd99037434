//! Where a record lives: a fixed table and a key in it.

use core::fmt;

/// Declares the tables once: the variant, its byte on disk and its name.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $byte:literal, $name:literal;)*) => {
        /// The tables. Few and fixed: what grows with use is keys, never tables.
        ///
        /// The number is the first byte of every stored key. It never changes meaning; a retired
        /// table's number is not given out again, and 0 belongs to the engines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Table {
            $($(#[$doc])* $table = $byte,)*
        }

        impl Table {
            /// Every table, in the order of their bytes.
            pub const ALL: &[Self] = &[$(Self::$table),*];

            /// The first byte of this table's stored keys.
            pub const fn byte(self) -> u8 {
                self as u8
            }

            /// The table whose keys begin with `byte`.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$table),)*
                    _ => None,
                }
            }

            /// The name that people see.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)*
                }
            }
        }
    };
}

tables! {
    /// Published jobs, by name and version.
    Jobs = 1, "jobs";
    /// Runs.
    Runs = 2, "runs";
    /// Units, keyed by run and index, so that a run's units are one range.
    Units = 3, "units";
    /// Inputs: small ones inline, large ones as digests of blobs.
    Inputs = 4, "inputs";
    /// Accepted outcomes, and the signed evidence for them.
    Results = 5, "results";
    /// Workers and what is known of them.
    Workers = 6, "workers";
    /// Bearer tokens, by digest.
    Tokens = 7, "tokens";
    /// Idempotency keys already honoured. Written by the engine only; whoever wants a key forgotten deletes it.
    Idempotency = 8, "idempotency";
    /// The coordinator's own marks: schema version, counters, fingerprints.
    Meta = 9, "meta";
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A record's place: its table and its key there.
///
/// Held as it is stored (table byte, then key), so its order is the order of scans and engines
/// need no copy of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// The place of `key` in `table`.
    pub fn new(table: Table, key: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(1 + key.len());
        encoded.push(table.byte());
        encoded.extend_from_slice(key);
        Self(encoded)
    }

    /// Reads a stored key; `None` if it begins with no table's byte.
    pub fn decode(encoded: Vec<u8>) -> Option<Self> {
        Table::from_byte(*encoded.first()?)?;
        Some(Self(encoded))
    }

    /// Whether this is a place in `table`.
    pub fn is_in(&self, table: Table) -> bool {
        self.0.first() == Some(&table.byte())
    }

    /// The key inside its table.
    pub fn bytes(&self) -> &[u8] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The key as it is stored.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// The key as it is stored.
    pub fn into_encoded(self) -> Vec<u8> {
        self.0
    }
}

impl<B: AsRef<[u8]>> From<(Table, B)> for Key {
    fn from((table, key): (Table, B)) -> Self {
        Self::new(table, key.as_ref())
    }
}

/// `units/7f00000001`: text keys as text, others in hexadecimal.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.first().and_then(|byte| Table::from_byte(*byte)).map_or("?", Table::name);
        write!(f, "{table}/")?;
        let key = self.bytes();
        match core::str::from_utf8(key) {
            Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) => f.write_str(text),
            _ => key.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_it_is() {
        assert_eq!(Key::from((Table::Runs, "r1")).to_string(), "runs/r1");
        assert_eq!(Key::from((Table::Units, [0x7f, 0])).to_string(), "units/7f00");
        assert_eq!(Key::decode(vec![2, b'r']), Some(Key::from((Table::Runs, "r"))));
        assert_eq!(Key::decode(vec![0, b'r']), None, "0 belongs to the engines");
        assert_eq!(Key::decode(Vec::new()), None);
    }

    #[test]
    fn every_table_has_its_own_byte() {
        for table in Table::ALL {
            assert_eq!(Table::from_byte(table.byte()), Some(*table));
        }
    }
}
