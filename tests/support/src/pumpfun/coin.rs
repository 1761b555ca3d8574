use crate::access::random_name;
use serde_json::{Map, Value, json};

/// A coin that the stand-in knows, and its stream.
#[derive(Clone, Debug)]
pub struct Coin {
    /// Base58 of 32 bytes.
    pub mint: String,
    /// Name of its room.
    pub room: String,
    /// Whether it is live.
    pub live: bool,
    /// Name.
    pub name: String,
    /// Ticker.
    pub symbol: String,
    /// Free text.
    pub description: String,
    /// The creator's wallet.
    pub creator: String,
    /// In SOL.
    pub market_cap: f64,
    /// In US dollars.
    pub usd_market_cap: f64,
    /// Viewers, as the platform counts them.
    pub num_participants: u64,
    /// Not safe for work.
    pub nsfw: bool,
    /// Start of the stream, milliseconds since the epoch.
    pub stream_started_ms: i64,
    /// Fields that replace or extend those above in every answer: the platform's are often null or of
    /// another type.
    pub overrides: Map<String, Value>,
}

impl Coin {
    /// A live coin with plausible facts, in a room named as the platform does: `MINT:ID`.
    pub fn new(mint: impl Into<String>) -> Self {
        let mint = mint.into();
        Self {
            room: format!("{mint}:{}", random_name(8)),
            live: true,
            name: "KindnessCoin".into(),
            symbol: "KIND".into(),
            description: "Be kind.".into(),
            creator: random_mint(),
            market_cap: 652.4,
            usd_market_cap: 101_778.36,
            num_participants: 231,
            nsfw: false,
            stream_started_ms: jiff::Timestamp::now().as_millisecond(),
            overrides: Map::new(),
            mint,
        }
    }

    /// The coin as the platform's frontend API writes it.
    pub(super) fn listed(&self) -> Value {
        let mut coin = json!({
            "mint": self.mint,
            "name": self.name,
            "symbol": self.symbol,
            "description": self.description,
            "image_uri": format!("https://ipfs.io/ipfs/{}", self.mint),
            "metadata_uri": format!("https://ipfs.io/ipfs/{}/meta", self.mint),
            "thumbnail": self.live.then(|| self.thumbnail()),
            "creator": self.creator,
            "market_cap": self.market_cap,
            "usd_market_cap": self.usd_market_cap,
            "num_participants": if self.live { self.num_participants } else { 0 },
            "is_currently_live": self.live,
            "nsfw": self.nsfw,
            "website": null,
            "twitter": "https://x.com/kindnesscoin",
            "telegram": "https://t.me/kindnesscoin",
            "created_timestamp": self.stream_started_ms,
        });
        self.override_in(&mut coin);
        coin
    }

    /// The stream as the platform's livestream API writes it.
    pub(super) fn livestream(&self) -> Value {
        let id = self.room.rsplit(':').next().unwrap_or_default();
        let mut stream = json!({
            "id": id,
            "mintId": self.mint,
            "creatorAddress": self.creator,
            "streamStartTimestamp": self.stream_started_ms,
            "numParticipants": self.num_participants,
            "isLive": self.live,
            "thumbnail": self.thumbnail(),
            "title": self.name,
            "mode": "webrtc",
        });
        self.override_in(&mut stream);
        stream
    }

    fn thumbnail(&self) -> String {
        format!(
            "https://prod-livestream-thumbnails.s3.amazonaws.com/{}/thumbnail.jpg",
            self.mint
        )
    }

    fn override_in(&self, answer: &mut Value) {
        if let Value::Object(fields) = answer {
            fields.extend(self.overrides.clone());
        }
    }
}

/// A mint that no coin has: base58 of 32 random bytes.
pub fn random_mint() -> String {
    bs58::encode(rand::random::<[u8; 32]>()).into_string()
}
