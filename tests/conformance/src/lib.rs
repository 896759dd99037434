//! What every runtime can be held to.
