//! Why viewers are no longer served, and what they are told.

use crate::{
    CloseReason,
    connection::{CloseFrame, Connection},
};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a viewer may take to answer a close.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Why a viewer is no longer served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It closed, with this code if it gave one.
    Left(Option<u16>),
    /// Its connection ended without a word.
    Gone,
    /// The hub was closed.
    Closed(CloseReason),
    /// The caller's shutdown future was ready (1001).
    ShuttingDown,
    /// The caller of [`serve_counted_viewer`](crate::serve_counted_viewer) sent it away.
    Dismissed(CloseReason),
    /// Its connection took nothing for [`ViewerOptions::stall_timeout`](crate::ViewerOptions::stall_timeout).
    Stalled,
    /// It answered no ping.
    NoPong,
    /// It sent what no viewer may; the close code.
    Violation(u16),
    /// All of [`HubOptions::max_viewers`](crate::HubOptions::max_viewers) were there already (1013).
    Full,
}

/// What became of a viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewerEnd {
    /// Why it ended.
    pub reason: EndReason,
    /// Pictures sent.
    pub frames_sent: u64,
    /// Pictures passed over after the first one.
    pub frames_skipped: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Closes a connection in the way that fits the reason.
pub(crate) async fn farewell<IO>(reason: &EndReason, connection: Connection<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (frame, wait) = match reason {
        EndReason::Gone | EndReason::Stalled | EndReason::NoPong => return,
        EndReason::Left(None) => (CloseFrame::Empty, false),
        EndReason::Left(Some(code)) => (CloseFrame::Code(*code, ""), false),
        EndReason::Closed(reason) | EndReason::Dismissed(reason) => {
            (CloseFrame::Code(reason.code, &reason.reason), true)
        }
        EndReason::ShuttingDown => (CloseFrame::Code(1001, "server is going down"), true),
        EndReason::Violation(1009) => {
            (CloseFrame::Code(1009, "message is longer than 4 KiB"), true)
        }
        EndReason::Violation(code) => (CloseFrame::Code(*code, "not the WebSocket protocol"), true),
        EndReason::Full => (
            CloseFrame::Code(1013, "too many viewers, try again later"),
            true,
        ),
    };
    connection.close(frame, wait, CLOSE_LIMIT).await;
}
