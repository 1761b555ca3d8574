//! Media finds its way: UDP, TCP, TURN, IPv6, and what happens when a way breaks.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use haven_e2e::{Cable, Publishing, Result, Room, Viewer, measured_seconds};
use haven_rig::{Turn, TurnTransport};
use livekit_room::{EndReason, Network, RoomEvent, Transport, TransportPolicy};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const LOOPBACK: &str = "127.0.0.1";

/// Two seconds of pictures.
const PICTURES: usize = 60;

fn only(policy: TransportPolicy) -> Network {
    Network {
        policy,
        turn_servers: Vec::new(),
    }
}

/// Media comes by this way and no other; the viewer leaves in order.
async fn assert_comes_by(room: &Room, network: Network, transport: Transport) -> Result<Viewed> {
    let mut viewer = Viewer::join(room, LOOPBACK, network)?;
    let first = viewer.pictures(PICTURES).await?;
    let path = viewer.path.ok_or("no path was told")?;
    assert_eq!(path.transport, transport, "{path}");
    let asked = Instant::now();
    assert_eq!(viewer.leave().await?, EndReason::Stopped);
    println!(
        "{}: first picture after {} ms, left in {} ms",
        transport.name(),
        first.as_millis(),
        asked.elapsed().as_millis()
    );
    Ok(Viewed { path, first })
}

struct Viewed {
    path: livekit_room::Path,
    first: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_is_taken_where_it_works_though_tcp_and_turn_would_work_too() -> Result {
    let turn = Turn::new(TurnTransport::Udp)?;
    let room = Room::open_with(&turn.configuration(), &Publishing::small()).await?;
    assert_comes_by(&room, only(TransportPolicy::All), Transport::Udp).await?;
    assert_comes_by(&room, only(TransportPolicy::Udp), Transport::Udp).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_carries_everything() -> Result {
    let room = Room::open(&Publishing::small()).await?;
    assert_comes_by(&room, only(TransportPolicy::Tcp), Transport::Tcp).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_over_udp_relays_and_gives_its_port_back() -> Result {
    let turn = Turn::new(TurnTransport::Udp)?;
    let room = Room::open_with(&turn.configuration(), &Publishing::small()).await?;
    let viewed = assert_comes_by(&room, only(TransportPolicy::Relay), Transport::TurnUdp).await?;
    assert_is_freed(&viewed).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_over_tcp_relays_and_gives_its_port_back() -> Result {
    let turn = Turn::new(TurnTransport::Tcp)?;
    let room = Room::open_with(&turn.configuration(), &Publishing::small()).await?;
    let viewed = assert_comes_by(&room, only(TransportPolicy::Relay), Transport::TurnTcp).await?;
    assert_is_freed(&viewed).await;
    Ok(())
}

/// In the long form with 700 seconds or more, this outlives the allocation's, the channel's and the
/// permission's first life times (RFC 8656: ten, ten and five minutes).
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_kept_for_as_long_as_it_is_used() -> Result {
    let turn = Turn::new(TurnTransport::Udp)?;
    let room = Room::open_with(&turn.configuration(), &Publishing::small()).await?;
    let mut viewer = Viewer::join(&room, LOOPBACK, only(TransportPolicy::Relay))?;
    viewer.pictures(PICTURES).await?;
    let before = viewer.path;
    let end = Instant::now() + measured_seconds();
    while Instant::now() < end {
        viewer.pictures(PICTURES).await?;
    }
    assert_eq!(viewer.path, before, "the same relay from first to last");
    assert!(!viewer.reconnected);
    assert_eq!(viewer.leave().await?, EndReason::Stopped);
    Ok(())
}

/// The relay's port is on this machine: it can be bound once the allocation is gone, which would
/// take ten minutes without a goodbye.
async fn assert_is_freed(viewed: &Viewed) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    while let Err(error) = UdpSocket::bind(viewed.path.local) {
        assert!(Instant::now() < deadline, "{}: {error}", viewed.path.local);
        pause.tick().await;
    }
    assert!(viewed.first > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_connection_that_breaks_is_made_anew() -> Result {
    let turn = Turn::new(TurnTransport::Tcp)?;
    let cable = Cable::to(turn.port).await?;
    // The server doesn't name it: the application does, by the cable.
    let mut configuration = turn.configuration();
    configuration["rtc"] = json!({});
    let room = Room::open_with(&configuration, &Publishing::small()).await?;
    let network = Network {
        policy: TransportPolicy::Relay,
        turn_servers: vec![turn.url(cable.address.port()).parse()?],
    };
    let mut viewer = Viewer::join(&room, LOOPBACK, network)?;
    viewer.pictures(PICTURES).await?;
    let before = viewer.path.ok_or("no path was told")?;
    cable.cut();
    let path = viewer
        .event(|event| matches!(event, RoomEvent::Path(path) if *path != before))
        .await?;
    println!("after the cut: {path:?}");
    viewer.pictures(PICTURES).await?;
    assert_eq!(
        viewer.path.map(|path| path.transport),
        Some(Transport::TurnTcp)
    );
    assert_eq!(viewer.leave().await?, EndReason::Stopped);
    Ok(())
}

/// The server restarts ICE after every resume, and forgets its old TCP connections then.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_takes_media_over_tcp_and_turn_along() -> Result {
    for (policy, transport) in [
        (TransportPolicy::Tcp, Transport::Tcp),
        (TransportPolicy::Relay, Transport::TurnUdp),
    ] {
        let turn = Turn::new(TurnTransport::Udp)?;
        let room = Room::open_with(&turn.configuration(), &Publishing::small()).await?;
        let port = room.livekit.url().rsplit(':').next().unwrap().parse()?;
        let signalling = Cable::to(port).await?;
        let url = format!("ws://{}", signalling.address);
        let mut viewer = Viewer::join_by(&room, &url, LOOPBACK, only(policy))?;
        viewer.pictures(PICTURES).await?;
        let cut = Instant::now();
        signalling.cut();
        viewer
            .event(|event| matches!(event, RoomEvent::Reconnecting { .. }))
            .await?;
        // More than what was on its way, and than what the server sends before it restarts ICE.
        viewer.pictures(5 * PICTURES).await?;
        println!("{}: resumed, {:?}", transport.name(), cut.elapsed());
        assert_eq!(viewer.path.map(|path| path.transport), Some(transport));
        assert_eq!(viewer.leave().await?, EndReason::Stopped);
    }
    Ok(())
}

/// livekit-server offers no candidate on IPv6 loopback, so that these need another address.
#[tokio::test(flavor = "multi_thread")]
async fn ipv6_carries_everything() -> Result {
    if !is_inside("ipv6_carries_everything", "")? {
        return Ok(());
    }
    let room = Room::open_with(&media_on("10.99.0.1,fd99::1"), &Publishing::small()).await?;
    for (policy, transport) in [
        (TransportPolicy::Udp, Transport::Udp),
        (TransportPolicy::Tcp, Transport::Tcp),
    ] {
        let mut viewer = Viewer::join(&room, "fd99::1", only(policy))?;
        viewer.pictures(PICTURES).await?;
        let path = viewer.path.ok_or("no path was told")?;
        assert_eq!(path.transport, transport, "{path}");
        assert!(path.remote.is_ipv6() && path.local.is_ipv6(), "{path}");
        assert_eq!(viewer.leave().await?, EndReason::Stopped);
    }
    Ok(())
}

/// Signalling is on IPv4 loopback, media on IPv6 and another interface alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_only_media_needs_is_found() -> Result {
    if !is_inside("an_interface_that_only_media_needs_is_found", "")? {
        return Ok(());
    }
    let mut apart = media_on("fd99::1");
    apart["rtc"]["ips"] = json!({ "includes": ["fd99::/16"] });
    let room = Room::open_with(&apart, &Publishing::small()).await?;
    let mut viewer = Viewer::join(&room, "", only(TransportPolicy::Udp))?;
    viewer.pictures(PICTURES).await?;
    let path = viewer.path.ok_or("no path was told")?;
    assert!(path.remote.is_ipv6() && path.local.is_ipv6(), "{path}");
    assert_eq!(viewer.leave().await?, EndReason::Stopped);
    Ok(())
}

/// The server's media on the network's own interface, at these addresses.
fn media_on(addresses: &str) -> Value {
    json!({ "rtc": { "node_ip": addresses, "interfaces": { "includes": ["near"] } } })
}

/// The address whose UDP packets vanish. The publisher uses another one.
const WITHOUT_UDP: &str = "127.0.0.9";

/// Drops UDP of that address. The rule for local addresses comes first by default.
const DROP_UDP: &str = "ip rule add pref 10 lookup local; \
    ip rule add pref 5 from 127.0.0.9 ipproto udp blackhole; ip rule del pref 0;";

/// Set in the program that runs within a network of its own.
const INSIDE: &str = "HAVEN_TEST_NETWORK";

#[tokio::test(flavor = "multi_thread")]
async fn without_udp_tcp_is_found_by_itself() -> Result {
    if !is_inside("without_udp_tcp_is_found_by_itself", DROP_UDP)? {
        return Ok(());
    }
    let room = Room::open(&Publishing::small()).await?;
    assert_found(&room, Transport::Tcp).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_udp_and_tcp_turn_is_found_by_itself() -> Result {
    if !is_inside("without_udp_and_tcp_turn_is_found_by_itself", DROP_UDP)? {
        return Ok(());
    }
    let turn = Turn::new(TurnTransport::Tcp)?;
    let mut configuration = turn.configuration();
    configuration["rtc"]["tcp_port"] = json!(0);
    let room = Room::open_with(&configuration, &Publishing::small()).await?;
    assert_found(&room, Transport::TurnTcp).await
}

async fn assert_found(room: &Room, transport: Transport) -> Result {
    let mut viewer = Viewer::join(room, WITHOUT_UDP, Network::default())?;
    let first = viewer.pictures(PICTURES).await?;
    let path = viewer.path.ok_or("no path was told")?;
    println!("without UDP: {path}, first picture after {first:?}");
    assert_eq!(path.transport, transport, "{path}");
    assert_eq!(viewer.leave().await?, EndReason::Stopped);
    Ok(())
}

/// Whether this is the program within a network of its own, which has an interface `near` beside
/// loopback. If not, that program is started with the same test, whose outcome is this one's.
fn is_inside(test: &str, further: &str) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may make a network");
        return Ok(false);
    }
    // The publisher takes no loopback address for its own.
    let script = format!(
        "set -e; ip link set lo up; ip link add near type veth peer name far; \
         ip link set near up; ip link set far up; \
         ip addr add 10.99.0.1/24 dev near; ip addr add fd99::1/64 dev near nodad; \
         {further} exec \"$@\""
    );
    let status = std::process::Command::new("unshare")
        .args(["--net", "sh", "-c", &script, "sh"])
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()?;
    assert!(status.success(), "within the network: {status}");
    Ok(false)
}
