//! Where a call may go.
//!
//! An [`Origin`] is a scheme, a host and a port in the only spelling that there is of it, so two of them are compared as they are written.
//! [`classify`] says whether an address is on the public internet. A name says nothing about that: whoever calls classifies every
//! address that the name has, and calls one of those.
//!
//! Absent on purpose: looking names up, and who may go where all the same; that is `host/egress`. So are networks' own NAT64
//! prefixes (RFC 6052, section 2.2), which look like any public address.

mod classify;
mod origin;
mod table;

pub use crate::classify::{Class, classify};
pub use crate::origin::{Host, Origin, OriginError, Scheme};
pub use crate::table::Row;
