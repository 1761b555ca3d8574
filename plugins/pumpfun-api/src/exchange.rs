use crate::{Error, NotAsked, Options, retry};
use http::{StatusCode, header};
use reqwest::{RequestBuilder, Response};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Largest answer that is read, in bytes; a full list of live coins has about 150 kB.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Shortest pause after a 429 that names no time: it comes again at once otherwise.
const RATE_LIMITED_PAUSE: Duration = Duration::from_secs(1);

/// One try that failed, and whether another makes sense.
struct Failure {
    error: Error,
    /// Whether to try again, and after what pause at least.
    again: Option<Duration>,
}

impl Failure {
    fn last(error: impl Into<Error>) -> Self {
        Self {
            error: error.into(),
            again: None,
        }
    }

    fn passing(error: impl Into<Error>) -> Self {
        Self {
            error: error.into(),
            again: Some(Duration::ZERO),
        }
    }
}

/// Sends a request until it is answered, as long as the deadline allows. The body of the answer;
/// never empty, since that means [`Error::NotLive`].
pub(crate) async fn send(request: RequestBuilder, options: Options) -> Result<Vec<u8>, Error> {
    let deadline = Instant::now() + options.deadline;
    let mut attempt = 0;
    loop {
        let until = deadline.min(Instant::now() + options.attempt_timeout);
        // A body that streams could not be sent again; ours are bytes.
        let Some(this) = request.try_clone() else {
            return once(request, until).await.map_err(|failure| failure.error);
        };
        let failure = match once(this, until).await {
            Ok(body) => return Ok(body),
            Err(failure) => failure,
        };
        let Some(at_least) = failure.again else {
            return Err(failure.error);
        };
        let pause = retry::backoff(attempt, rand::random()).max(at_least);
        let left = deadline.saturating_duration_since(Instant::now());
        if attempt + 1 >= options.max_attempts || pause >= left {
            return Err(failure.error);
        }
        tracing::debug!(error = %failure.error, ?pause, attempt, "asking pump.fun again");
        sleep(pause).await;
        attempt += 1;
    }
}

async fn once(request: RequestBuilder, until: Instant) -> Result<Vec<u8>, Failure> {
    match timeout_at(until, exchange(request)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::passing(NotAsked::TimedOut)),
    }
}

async fn exchange(request: RequestBuilder) -> Result<Vec<u8>, Failure> {
    let mut response = request
        .send()
        .await
        .map_err(|error| Failure::passing(NotAsked::Transport(error.without_url())))?;
    check(&response)?;
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::passing(NotAsked::Transport(error.without_url())))?
    {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Failure::last(NotAsked::TooLarge));
        }
        body.extend_from_slice(&chunk);
    }
    match body.trim_ascii() {
        [] | b"null" => Err(Failure::last(Error::NotLive)),
        _ => Ok(body),
    }
}

fn check(response: &Response) -> Result<(), Failure> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry::retry_after(value, jiff::Timestamp::now()));
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => Err(Failure::last(Error::NotLive)),
        // A 503 that says when to come back means the same (RFC 9110, 10.2.3).
        status if status == StatusCode::TOO_MANY_REQUESTS || asks_to_wait(status, retry_after) => {
            Err(Failure {
                error: Error::RateLimited { retry_after },
                again: Some(retry_after.unwrap_or(RATE_LIMITED_PAUSE)),
            })
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            Err(Failure::passing(NotAsked::Status(status.as_u16())))
        }
        status => Err(Failure::last(NotAsked::Status(status.as_u16()))),
    }
}

fn asks_to_wait(status: StatusCode, retry_after: Option<Duration>) -> bool {
    status.is_server_error() && retry_after.is_some()
}
