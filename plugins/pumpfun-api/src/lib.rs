//! Client of pump.fun's livestream and coin API: typed, tolerant, polite.
//!
//! What is known of that API comes from public code and may change without notice. So every field
//! may be missing, null or of another type, a body is never larger than [`MAX_BODY_BYTES`], and
//! "there is no such stream" is told apart from "could not ask" (see [`Error`]): the first ends a
//! session, the second is worth another try.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pumpfun_api::{Client, Endpoints, Mint};
//!
//! let client = Client::new(Endpoints::from_env()?)?;
//! let mint: Mint = "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump".parse()?;
//! let join = client.join(&mint).await?;
//! println!("the room is at {}", join.livekit_url);
//! # Ok(())
//! # }
//! ```

mod client;
mod coin;
mod endpoints;
mod error;
mod exchange;
mod lenient;
mod mint;
mod poller;
mod retry;

pub use client::{Client, Join, LivePage, Options};
pub use coin::{Coin, Livestream};
pub use endpoints::Endpoints;
pub use error::{Error, NotAsked};
pub use exchange::MAX_BODY_BYTES;
pub use mint::{InvalidMint, Mint};
pub use poller::{Observation, Poller, Watch};
