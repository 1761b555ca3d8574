use std::{fmt, str::FromStr};

/// The address of a coin: base58 of 32 bytes, 32 to 44 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mint(String);

/// The text is no mint address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mint is 32 to 44 base58 characters that stand for 32 bytes")]
pub struct InvalidMint;

impl Mint {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Mint {
    type Err = InvalidMint;

    fn from_str(text: &str) -> Result<Self, InvalidMint> {
        if !(32..=44).contains(&text.len()) {
            return Err(InvalidMint);
        }
        let mut bytes = [0u8; 33];
        match bs58::decode(text).onto(&mut bytes[..]) {
            Ok(32) => Ok(Self(text.to_owned())),
            _ => Err(InvalidMint),
        }
    }
}

impl fmt::Display for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_coins_are_mints() {
        for mint in [
            "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump",
            "So11111111111111111111111111111111111111112",
            "11111111111111111111111111111111",
        ] {
            assert_eq!(mint.parse::<Mint>().map(|m| m.to_string()), Ok(mint.into()));
        }
    }

    #[test]
    fn other_texts_are_not_mints() {
        for text in [
            "",
            "demo",
            // 0, O, I and l are not in the alphabet
            "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpum0",
            // 31 and 33 bytes
            "1111111111111111111111111111111",
            "111111111111111111111111111111111",
            "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "5PJRpFL7ZH7HEnHPJiAymwuzGRLLPTDkfNTKFG1wpump ",
            "../../../../../../../etc/passwd/and/so/on/",
        ] {
            assert_eq!(text.parse::<Mint>(), Err(InvalidMint), "{text}");
        }
    }
}
