//! What the step decides, case by case, in a world of a few lines.

mod cases;
mod properties;
mod world;
