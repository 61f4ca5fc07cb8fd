//! [`Tree`] → [`super::raw`] structs, through serde, without stopping at the first fault.
//!
//! Unknown keys are recorded and skipped. A value that cannot be read is recorded at its
//! own node and its [`super::field::Field`] becomes `Bad`; the rest is read on.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::{BoolDeserializer, StrDeserializer, U32Deserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::field::{EITHER, FIELD};
use super::problems::{KEPT, did_you_mean};
use super::tree::{Kind, NodeId, Tree, is_null_text};

/// A fault of one node.
#[derive(Debug, Clone)]
pub struct Fault {
    pub node: NodeId,
    pub message: String,
    pub hint: Option<String>,
}

/// Faults in the order found.
#[derive(Default)]
pub struct Sink {
    faults: RefCell<Vec<Fault>>,
    dropped: Cell<usize>,
}

impl Sink {
    fn push(&self, node: NodeId, error: Error) {
        if self.is_full() {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        self.faults.borrow_mut().push(Fault {
            node: error.node.unwrap_or(node),
            message: error.message,
            hint: error.hint,
        });
    }
    fn is_full(&self) -> bool {
        self.faults.borrow().len() >= KEPT
    }
    pub fn dropped(&self) -> usize {
        self.dropped.get()
    }
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// Reads a node as a `T`; `None` when the node itself has the wrong shape.
pub fn read<T: de::DeserializeOwned>(tree: &Tree, node: NodeId, sink: &Sink) -> Option<T> {
    T::deserialize(De { tree, node, sink })
        .map_err(|error| sink.push(node, error))
        .ok()
}

#[derive(Debug)]
pub struct Error {
    node: Option<NodeId>,
    message: String,
    hint: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    fn new(message: String) -> Error {
        Error {
            node: None,
            message,
            hint: None,
        }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::new(message.to_string())
    }
    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        Error::new(format!("expected {expected}, found {unexpected}"))
    }
    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        Error::new(format!("expected {expected}, found {unexpected}"))
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Error {
        Error {
            node: None,
            message: format!(
                "\"{variant}\" is none of the possible values: {}",
                expected.join(", ")
            ),
            hint: did_you_mean(variant, expected.iter().copied()),
        }
    }
}

#[derive(Clone, Copy)]
struct De<'a> {
    tree: &'a Tree,
    node: NodeId,
    sink: &'a Sink,
}

impl<'a> De<'a> {
    fn kind(&self) -> &'a Kind {
        &self.tree.node(self.node).kind
    }
    fn at(&self, node: NodeId) -> De<'a> {
        De { node, ..*self }
    }
    fn found(&self) -> &'static str {
        match self.kind() {
            Kind::Scalar { text, plain: true } if is_null_text(text) => "nothing",
            Kind::Scalar { .. } => "text",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
    fn unexpected(&self, wanted: &str) -> Error {
        Error {
            node: Some(self.node),
            message: format!("expected {wanted}, found {}", self.found()),
            hint: None,
        }
    }
    /// Text as written. Nothing is not text.
    fn text(&self, wanted: &str) -> Result<&'a str, Error> {
        match self.kind() {
            Kind::Scalar { text, plain } if !(*plain && is_null_text(text)) => Ok(text),
            Kind::Scalar { .. } | Kind::Seq(_) | Kind::Map(_) => Err(self.unexpected(wanted)),
        }
    }
    /// An unquoted scalar that reads as a `T`.
    fn plain<T: std::str::FromStr>(&self, wanted: &str) -> Result<T, Error> {
        let text = self.text(wanted)?;
        let quoted = matches!(self.kind(), Kind::Scalar { plain: false, .. });
        match text.parse() {
            Ok(value) if !quoted => Ok(value),
            parsed => Err(Error {
                node: Some(self.node),
                message: format!("expected {wanted}, found \"{}\"", short(text)),
                hint: parsed.is_ok().then(|| "remove the quotes".to_owned()),
            }),
        }
    }
}

fn short(text: &str) -> String {
    super::problems::shorten(text, 40)
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let wanted = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
            visitor.$visit(self.plain::<$type>(&wanted)?)
        })*
    };
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Scalar { plain: true, text } if is_null_text(text) => visitor.visit_unit(),
            Kind::Scalar { text, .. } => visitor.visit_str(text),
            Kind::Seq(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.tree.is_null(self.node) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let head = match name {
            FIELD => Head::Field,
            EITHER => Head::Either,
            _ => return Err(self.unexpected("something else")),
        };
        visitor.visit_seq(Pair {
            de: self,
            head: Some(head),
            tolerant: name == FIELD,
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text("text")?)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let wanted = "true or false";
        match self.plain::<bool>(wanted) {
            Ok(value) => visitor.visit_bool(value),
            Err(mut error) => {
                error.hint = error.hint.or_else(|| {
                    let text = self.text(wanted).ok()?.to_ascii_lowercase();
                    match text.as_str() {
                        "yes" | "on" | "y" | "true" => Some("write true".to_owned()),
                        "no" | "off" | "n" | "false" => Some("write false".to_owned()),
                        _ => None,
                    }
                });
                Err(error)
            }
        }
    }

    whole_numbers! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value: f64 = self.plain("a number")?;
        if !value.is_finite() {
            return Err(Error::new("expected a finite number".to_owned()));
        }
        visitor.visit_f64(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Seq(items) => visitor.visit_seq(Items {
                de: self,
                items: items.iter(),
            }),
            Kind::Scalar { .. } => {
                let mut error = self.unexpected("a list");
                error.hint = Some("write each item after \"- \", or all in [ ]".to_owned());
                Err(error)
            }
            Kind::Map(_) => Err(self.unexpected("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Map(entries) => visitor.visit_map(Pairs {
                de: self,
                entries: entries.iter(),
                value: None,
                known: None,
            }),
            Kind::Scalar { .. } | Kind::Seq(_) => {
                Err(self.unexpected("a mapping (\"key: value\" lines)"))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Map(entries) => visitor.visit_map(Pairs {
                de: self,
                entries: entries.iter(),
                value: None,
                known: Some(fields),
            }),
            Kind::Scalar { .. } | Kind::Seq(_) => Err(self.unexpected(&format!(
                "a mapping with some of the keys {}",
                fields.join(", ")
            ))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.text(&format!("one of {}", variants.join(", ")))?;
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        visitor.visit_enum(text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 char bytes byte_buf unit unit_struct tuple identifier
    }
}

enum Head {
    Field,
    Either,
}

/// What a marker name is answered with: something about the node, then its value.
struct Pair<'a> {
    de: De<'a>,
    head: Option<Head>,
    /// A value that cannot be read is recorded and left out, not passed up.
    tolerant: bool,
}

impl<'de> SeqAccess<'de> for Pair<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let de = self.de;
        match self.head.take() {
            Some(Head::Field) => {
                let id: U32Deserializer<Error> = de.node.0.into_deserializer();
                seed.deserialize(id).map(Some)
            }
            Some(Head::Either) => {
                let mapping = matches!(de.kind(), Kind::Map(_));
                let mapping: BoolDeserializer<Error> = mapping.into_deserializer();
                seed.deserialize(mapping).map(Some)
            }
            None => match seed.deserialize(de) {
                Ok(value) => Ok(Some(value)),
                Err(error) if self.tolerant => {
                    de.sink.push(de.node, error);
                    Ok(None)
                }
                Err(error) => Err(error),
            },
        }
    }
}

struct Items<'a> {
    de: De<'a>,
    items: std::slice::Iter<'a, NodeId>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        for &item in self.items.by_ref() {
            if self.de.tree.is_null(item) {
                self.de.sink.push(
                    item,
                    Error {
                        node: Some(item),
                        message: "this item of the list is empty".to_owned(),
                        hint: Some("write \"\" for empty text, or remove the item".to_owned()),
                    },
                );
                continue;
            }
            return seed.deserialize(self.de.at(item)).map(Some);
        }
        Ok(None)
    }
}

struct Pairs<'a> {
    de: De<'a>,
    entries: std::slice::Iter<'a, (NodeId, NodeId)>,
    value: Option<NodeId>,
    /// Keys of a struct; `None`: any.
    known: Option<&'static [&'static str]>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        for &(key, value) in self.entries.by_ref() {
            let name = self.de.tree.text(key).unwrap_or_default();
            if let Some(known) = self.known
                && !known.contains(&name)
            {
                self.de.sink.push(
                    key,
                    Error {
                        node: Some(key),
                        message: format!("unknown key \"{}\"", short(name)),
                        // Guessing is the dear part; nobody reads the thousandth guess.
                        hint: (!self.de.sink.is_full())
                            .then(|| did_you_mean(name, known.iter().copied()))
                            .flatten()
                            .or_else(|| Some(format!("known here: {}", known.join(", ")))),
                    },
                );
                continue;
            }
            self.value = Some(value);
            return seed.deserialize(self.de.at(key)).map(Some);
        }
        Ok(None)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().unwrap_or(self.de.node);
        seed.deserialize(self.de.at(value))
    }
}
