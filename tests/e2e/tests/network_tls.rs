//! TURN over TLS, with the certificate authority that `SSL_CERT_FILE` names: alone in its program,
//! since that is read once.

use haven_e2e::{Publishing, Result, Room, Viewer};
use haven_rig::{Turn, TurnTransport};
use livekit_room::{EndReason, Network, Transport, TransportPolicy};

#[test]
fn turn_over_tls_relays() -> Result {
    let turn = Turn::new(TurnTransport::Tls)?;
    // SAFETY: no other thread of this program reads or writes the environment yet.
    unsafe { std::env::set_var("SSL_CERT_FILE", turn.certificate()) };
    tokio::runtime::Runtime::new()?.block_on(async {
        let room = Room::open_with(&turn.configuration(), &Publishing::small()).await?;
        let network = Network {
            policy: TransportPolicy::Relay,
            turn_servers: Vec::new(),
        };
        let mut viewer = Viewer::join(&room, "127.0.0.1", network)?;
        let first = viewer.pictures(60).await?;
        let path = viewer.path.ok_or("no path was told")?;
        println!("{path}, first picture after {first:?}");
        assert_eq!(path.transport, Transport::TurnTls);
        assert_eq!(viewer.leave().await?, EndReason::Stopped);
        Ok(())
    })
}
