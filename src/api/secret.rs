//! Bytes that processes say to each other and nobody else may see.

use std::fmt;

use data_encoding::BASE64;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Bytes that are wiped when they are dropped, and that nothing shows: in JSON they are Base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret({} bytes)", self.0.len())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        /// Reads the text where it lies.
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("Base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                // What is wrong with it would show a part of it.
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| E::custom("no Base64"))?;
                Ok(Secret(Zeroizing::new(bytes)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
