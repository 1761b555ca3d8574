use serde::{Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Longest line either side takes; a longer one means the other side isn't ours.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The pipe failed.
    #[error("reading from the pipe failed")]
    Io(#[from] io::Error),
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("a line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not a message of this protocol.
    #[error("not a message of this protocol")]
    Malformed(#[from] serde_json::Error),
}

/// One message as a line, its newline included.
///
/// # Errors
/// When the message can't be written as JSON (a path that isn't UTF-8).
pub fn encode_line<T: Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads messages, one a line, with a bound on the line's length.
#[derive(Debug)]
pub struct LineReader<R> {
    input: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader over one end of a pipe.
    pub fn new(input: R) -> Self {
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
        }
    }

    /// The next message, or `None` where the input ends. Empty lines are passed over.
    ///
    /// Cancel-safe: a line that was read in part is kept for the next call.
    ///
    /// # Errors
    /// See [`LineError`]. After a malformed line the reader goes on with the next one.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LineError> {
        loop {
            let room = MAX_LINE_BYTES + 1 - self.line.len();
            let read = (&mut self.input)
                .take(room as u64)
                .read_until(b'\n', &mut self.line)
                .await?;
            let complete = self.line.last() == Some(&b'\n');
            if !complete && self.line.len() > MAX_LINE_BYTES {
                return Err(LineError::TooLong);
            }
            if !complete && read > 0 {
                continue;
            }
            let ended = read == 0 && self.line.is_empty();
            if ended {
                return Ok(None);
            }
            let message = match self.line.trim_ascii() {
                [] => None,
                text => Some(serde_json::from_slice(text)),
            };
            self.line.clear();
            if let Some(message) = message {
                return Ok(Some(message?));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndReason, ServerMessage, WorkerMessage};

    async fn read_all(input: &[u8]) -> Vec<Result<WorkerMessage, String>> {
        let mut reader = LineReader::new(input);
        let mut all = Vec::new();
        loop {
            match reader.next::<WorkerMessage>().await {
                Ok(Some(message)) => all.push(Ok(message)),
                Ok(None) => return all,
                Err(LineError::TooLong) => {
                    all.push(Err("too long".into()));
                    return all;
                }
                Err(error) => all.push(Err(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn a_message_survives_the_pipe() {
        let sent = WorkerMessage::Ended {
            reason: EndReason::Connection {
                message: "refused\nby the server".into(),
            },
        };
        let line = encode_line(&sent).unwrap();
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(read_all(&line).await, [Ok(sent)]);
    }

    #[tokio::test]
    async fn a_malformed_line_does_not_lose_the_next() {
        let mut input = b"{\"type\":\"nonsense\"}\n\n".to_vec();
        input.extend(encode_line(&WorkerMessage::TokenRequest { request_id: 7 }).unwrap());
        let all = read_all(&input).await;
        assert!(all[0].is_err());
        assert_eq!(all[1], Ok(WorkerMessage::TokenRequest { request_id: 7 }));
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let input = vec![b'x'; MAX_LINE_BYTES * 2];
        assert_eq!(read_all(&input).await, [Err("too long".into())]);
    }

    #[tokio::test]
    async fn a_last_line_without_newline_is_read() {
        assert_eq!(
            LineReader::new(&br#"{"type":"shutdown"}"#[..])
                .next::<ServerMessage>()
                .await
                .unwrap(),
            Some(ServerMessage::Shutdown)
        );
    }
}
