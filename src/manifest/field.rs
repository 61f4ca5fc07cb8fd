//! The building blocks of [`super::raw`]: values that remember their node, and that may
//! be absent or bad without taking the rest of the document with them.
//!
//! They only deserialise from [`super::de::De`], which answers the two marker names with
//! the node's id beside the value.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::tree::NodeId;

/// Answered with (node id, value); a value that cannot be read is recorded and left out.
pub const FIELD: &str = "$field";
/// Answered with (is it a mapping, value).
pub const EITHER: &str = "$either";

/// One value of a spec.
#[derive(Clone, Debug, Default)]
pub enum Field<T> {
    #[default]
    Absent,
    /// Its problem is recorded already.
    Bad(NodeId),
    Set(NodeId, T),
}

impl<T> Field<T> {
    pub fn get(&self) -> Option<&T> {
        match self {
            Field::Set(_, value) => Some(value),
            Field::Absent | Field::Bad(_) => None,
        }
    }
    pub fn set(&self) -> Option<(NodeId, &T)> {
        match self {
            Field::Set(node, value) => Some((*node, value)),
            Field::Absent | Field::Bad(_) => None,
        }
    }
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Field::Set(node, _) | Field::Bad(node) => Some(*node),
            Field::Absent => None,
        }
    }
    pub fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Field<T>, D::Error> {
        struct V<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = Field<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_none<E>(self) -> Result<Field<T>, E> {
                Ok(Field::Absent)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Field<T>, D::Error> {
                d.deserialize_tuple_struct(FIELD, 2, self)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<T>, A::Error> {
                let node = NodeId(seq.next_element()?.unwrap_or(0));
                Ok(match seq.next_element()? {
                    Some(value) => Field::Set(node, value),
                    None => Field::Bad(node),
                })
            }
        }
        d.deserialize_option(V(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

pub type List<T> = Field<Vec<Field<T>>>;

/// A mapping with keys of the user's choice, in the order written.
#[derive(Clone, Debug)]
pub struct Entries<T>(pub Vec<(Field<String>, Field<T>)>);

pub type Dict<T> = Field<Entries<T>>;

impl<T> Field<Entries<T>> {
    /// Key's node, key, value.
    pub fn entries(&self) -> impl Iterator<Item = (NodeId, &str, &Field<T>)> {
        self.get()
            .map_or(&[][..], |e| e.0.as_slice())
            .iter()
            .filter_map(|(key, value)| key.set().map(|(n, k)| (n, k.as_str(), value)))
    }
}

impl<T> Field<Vec<Field<T>>> {
    /// The items that could be read.
    pub fn items(&self) -> impl Iterator<Item = (NodeId, &T)> {
        self.get()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(Field::set)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Entries<T>, D::Error> {
        struct V<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        d.deserialize_map(V(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// One of two forms: a scalar, or a mapping.
#[derive(Clone, Debug)]
pub enum Either<A, B> {
    Scalar(A),
    Mapping(B),
}

impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Deserialize<'de> for Either<A, B> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Either<A, B>, D::Error> {
        struct V<A, B>(PhantomData<(A, B)>);
        impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Visitor<'de> for V<A, B> {
            type Value = Either<A, B>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar or a mapping")
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Either<A, B>, S::Error> {
                let missing = |_| serde::de::Error::custom("a value is missing");
                if seq.next_element::<bool>()?.unwrap_or(false) {
                    seq.next_element()?.map(Either::Mapping)
                } else {
                    seq.next_element()?.map(Either::Scalar)
                }
                .ok_or(())
                .map_err(missing)
            }
        }
        d.deserialize_tuple_struct(EITHER, 2, V(PhantomData))
    }
}

impl<A: JsonSchema, B: JsonSchema> JsonSchema for Either<A, B> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", A::schema_name(), B::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [generator.subschema_for::<A>(), generator.subschema_for::<B>()],
        })
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(
    /// Any scalar, taken as it is written.
    Scalar,
    { "type": ["string", "number", "boolean"] }
);
text!(
    DurationText,
    { "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,3})?(ms|s|m|h)$" }
);
text!(
    CpuText,
    { "type": ["string", "number"], "pattern": r"^[0-9]+(m|\.[0-9]{1,3})?$", "minimum": 0 }
);
text!(
    MemoryText,
    {
        "type": ["string", "integer"],
        "pattern": r"^[0-9]+(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
        "minimum": 0
    }
);
text!(
    CountOrPercentText,
    { "type": ["string", "integer"], "pattern": r"^[0-9]+%?$", "minimum": 0 }
);
