//! The controller on a real database, with agents made of messages.
