//! To whom: every address is looked at before any is dialled, and who answers before anything is said.

use std::net::SocketAddr;

use manyhands_addresses::{Class, classify};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::{Phase, Why};

/// Who may be let through for one origin.
pub(crate) struct Door<'a> {
    /// The operator allows the origin by name.
    pub(crate) allowed: bool,
    /// Where this coordinator is reached.
    pub(crate) own: &'a [SocketAddr],
}

/// Addresses that are tried. More would leave each less than a usable time.
const DIALLED_MAX: usize = 4;

impl Door<'_> {
    /// A connection to one of `addresses`, tried in their order.
    pub(crate) async fn dial(&self, addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Why> {
        for &address in addresses {
            self.vet(address)?;
        }
        let tried = &addresses[..addresses.len().min(DIALLED_MAX)];
        let mut failure = Why::NoAddress;
        for (at, &address) in tried.iter().enumerate() {
            // An address that is silent leaves the others their share of the time.
            let share = until.saturating_duration_since(Instant::now()) / (tried.len() - at) as u32;
            let stream = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(why)) => {
                    failure = Why::Unreachable(address, why);
                    continue;
                }
                Err(_) => {
                    failure = Why::TooSlow(Phase::Connect);
                    continue;
                }
            };
            let unreachable = |why| Why::Unreachable(address, why);
            self.recognise(
                address,
                stream.local_addr().map_err(unreachable)?,
                stream.peer_addr().map_err(unreachable)?,
            )?;
            // A request is one write, and nobody waits for more of it.
            stream.set_nodelay(true).map_err(unreachable)?;
            return Ok(stream);
        }
        Err(failure)
    }

    fn vet(&self, address: SocketAddr) -> Result<(), Why> {
        if self.allowed {
            return Ok(());
        }
        if let Class::Special(row) = classify(address.ip()) {
            return Err(Why::Special { address: address.ip(), row });
        }
        if self.own.contains(&address) {
            return Err(Why::Own(address));
        }
        Ok(())
    }

    /// Looks who answered. A connection between two ends with one address has not left this computer, whatever the address is.
    fn recognise(&self, dialled: SocketAddr, local: SocketAddr, peer: SocketAddr) -> Result<(), Why> {
        if peer != dialled {
            return Err(Why::Peer { dialled, peer });
        }
        if !self.allowed && local.ip() == peer.ip() {
            return Err(Why::Own(peer));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn attack_21_who_answers_is_who_was_dialled() {
        let door = Door { allowed: false, own: &[] };
        let (here, there) = (at("93.184.215.14:50000"), at("93.184.215.15:443"));
        assert!(door.recognise(there, here, there).is_ok());
        for peer in ["93.184.215.16:443", "93.184.215.15:444", "127.0.0.1:443", "[::ffff:93.184.215.15]:443"] {
            assert!(matches!(door.recognise(there, here, at(peer)), Err(Why::Peer { .. })), "{peer}");
        }
        // What the operator allows has to be who was dialled as well.
        let allowed = Door { allowed: true, own: &[] };
        assert!(matches!(allowed.recognise(at("0.0.0.0:80"), here, at("127.0.0.1:80")), Err(Why::Peer { .. })));
    }

    #[test]
    fn attack_23_this_computer_is_known_by_its_own_address() {
        let (here, there) = (at("93.184.215.14:50000"), at("93.184.215.14:443"));
        let door = Door { allowed: false, own: &[] };
        assert!(matches!(door.recognise(there, here, there), Err(Why::Own(_))));
        assert!(Door { allowed: true, own: &[] }.recognise(there, here, there).is_ok());
    }

    #[test]
    fn attack_23_own_listeners_are_refused_unless_allowed() {
        let own = [at("93.184.215.14:443")];
        let door = Door { allowed: false, own: &own };
        assert!(matches!(door.vet(own[0]), Err(Why::Own(_))));
        assert!(door.vet(at("93.184.215.14:8443")).is_ok(), "another port is somebody else's");
        assert!(Door { allowed: true, own: &own }.vet(own[0]).is_ok());
    }
}
