//! Pictures of a machine, coloured by who has what.

mod svg;
mod text;

pub use svg::svg;
pub use text::text;
