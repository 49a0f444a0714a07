//! Pictures of a machine, coloured by who has what.

mod canvas;
mod palette;
mod panel;
mod svg;
mod text;
mod view;

pub use svg::svg;
pub use text::{Style, text};
