//! What the step decides, case by case, in a world of a few lines.

mod cases;
mod evidence;
mod properties;
mod world;
