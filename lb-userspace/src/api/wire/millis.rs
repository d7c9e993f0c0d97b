//! Durations on the wire: a whole number of milliseconds, as Scaleway's clients write and read them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration; written as milliseconds, read from milliseconds or from a text such as `"500ms"`, `"5s"` or `"10m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

/// Units a text may end in, the longer spelling of a common ending first.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Longest duration that is read: a year.
const MAX: Duration = Duration::from_secs(366 * 24 * 3600);

impl std::str::FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("`{text}` is not a duration: milliseconds such as 5000, or \"500ms\", \"5s\", \"10m\", \"1h\"");
        let text = text.trim();
        let (number, unit_s) = UNITS
            .iter()
            .find_map(|(unit, s)| text.strip_suffix(unit).map(|number| (number, *s)))
            .unwrap_or((text, 0.001));
        let number: f64 = number.trim().parse().map_err(|_| refuse())?;
        let duration = Duration::try_from_secs_f64(number * unit_s).map_err(|_| refuse())?;
        let millis = u64::try_from(duration.as_micros().div_ceil(1000)).map_err(|_| refuse())?;
        let duration = Duration::from_millis(millis);
        if duration > MAX { Err(refuse()) } else { Ok(Self(duration)) }
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(self.0.as_millis()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl serde::de::Visitor<'_> for Visitor {
    type Value = Millis;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a duration: milliseconds such as 5000, or \"500ms\", \"5s\", \"10m\", \"1h\"")
    }

    fn visit_u64<E: serde::de::Error>(self, millis: u64) -> Result<Millis, E> {
        let duration = Duration::from_millis(millis);
        if duration > MAX {
            return Err(E::invalid_value(serde::de::Unexpected::Unsigned(millis), &self));
        }
        Ok(Millis(duration))
    }

    fn visit_i64<E: serde::de::Error>(self, millis: i64) -> Result<Millis, E> {
        u64::try_from(millis)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(millis), &self))
            .and_then(|millis| self.visit_u64(millis))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Millis, E> {
        text.parse().map_err(E::custom)
    }
}

impl utoipa::PartialSchema for Millis {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
        let number =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(MAX.as_millis() as f64));
        let text = ObjectBuilder::new().schema_type(Type::String);
        let text = text.pattern(Some(r"^[0-9]{1,7}(\.[0-9]{1,3})?(ms|s)?$"));
        OneOfBuilder::new().item(number).item(text).into()
    }
}

impl utoipa::ToSchema for Millis {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Duration, String> {
        serde_json::from_str::<Millis>(json).map(|millis| millis.0).map_err(|error| error.to_string())
    }

    #[test]
    fn milliseconds_and_texts_with_a_unit_are_durations() {
        for (json, millis) in
            [("5000", 5000), ("\"5000\"", 5000), ("\"5s\"", 5000), ("\"0.5s\"", 500), ("\"1m\"", 60_000), ("0", 0)]
        {
            assert_eq!(read(json), Ok(Duration::from_millis(millis)), "{json}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_forms_that_are() {
        for json in ["-1", "\"soon\"", "\"-5s\"", "\"5 parsecs\"", "true", "1.5e300", "\"1e300h\"", "99999999999999"] {
            let error = read(json).expect_err(json);
            assert!(error.contains("\"5s\""), "{json}: {error}");
        }
    }
}
