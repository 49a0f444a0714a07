//! Types with a form on the wire: `wire!` around their definition.

/// Defines a struct or an enum, and gives it its form ([`crate::wire::form`]): so each
/// field and each number of a variant stands once.
///
/// Variants are numbered from 0 on, which is checked when this is compiled; what one
/// holds has a name here, for whoever reads it. With the feature `serde` all that
/// borrows nothing can be JSON as well.
macro_rules! wire {
    // What borrows from the bytes.
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$life:lifetime> {
        $($(#[$inner:meta])* $fvis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        $vis struct $name<$life> { $($(#[$inner])* $fvis $field: $type,)* }

        impl<$life> $crate::wire::Take<$life> for $name<$life> {
            fn take(from: &mut $crate::wire::Reader<$life>) -> Self {
                Self { $($field: $crate::wire::Take::take(from),)* }
            }
        }
        wire!(@put [$name<'_>] $($field)*);
    };

    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$inner:meta])* $fvis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        $vis struct $name { $($(#[$inner])* $fvis $field: $type,)* }
        wire!(@own $name $($field)*);
    };

    // A value with a name of its own.
    ($(#[$meta:meta])* $vis:vis struct $name:ident($fvis:vis $type:ty);) => {
        $(#[$meta])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        $vis struct $name($fvis $type);
        wire!(@own $name 0);
    };

    // The first variant stands apart: it is what a reader that refuses gives.
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $(#[$inner0:meta])* $variant0:ident $(($held0:ident: $type0:ty))? = 0,
        $($(#[$inner:meta])* $variant:ident
            $(($held:ident: $type:ty))?
            $({ $($(#[$finner:meta])* $field:ident: $ftype:ty,)* })?
            = $tag:literal,)*
    }) => {
        $(#[$meta])*
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        $vis enum $name {
            $(#[$inner0])* $variant0 $(($type0))?,
            $($(#[$inner])* $variant
                $(($type))?
                $({ $($(#[$finner])* $field: $ftype,)* })?,)*
        }

        impl $name {
            const VARIANTS: u8 = $crate::wire::count(&[0, $($tag),*]);
        }

        impl<'w> $crate::wire::Take<'w> for $name {
            fn take(from: &mut $crate::wire::Reader<'w>) -> Self {
                match from.variant(Self::VARIANTS) {
                    $($tag => Self::$variant
                        $((<$type as $crate::wire::Take<'_>>::take(from)))?
                        $({ $($field: $crate::wire::Take::take(from),)* })?,)*
                    _ => Self::$variant0
                        $((<$type0 as $crate::wire::Take<'_>>::take(from)))?,
                }
            }
        }

        impl $crate::wire::Put for $name {
            fn put(&self, to: &mut $crate::wire::Writer<'_>) {
                match self {
                    Self::$variant0 $(($held0))? => {
                        to.byte(0);
                        $($crate::wire::Put::put($held0, to);)?
                    }
                    $(Self::$variant $(($held))? $({ $($field,)* })? => {
                        to.byte($tag);
                        $($crate::wire::Put::put($held, to);)?
                        $($($crate::wire::Put::put($field, to);)*)?
                    })*
                }
            }
        }

        #[cfg(test)]
        impl $crate::wire::any::Any for $name {
            fn any(seed: &mut $crate::wire::any::Seed) -> Self {
                match seed.below(Self::VARIANTS) {
                    $($tag => Self::$variant
                        $((<$type as $crate::wire::any::Any>::any(seed)))?
                        $({ $($field: $crate::wire::any::Any::any(seed),)* })?,)*
                    _ => Self::$variant0
                        $((<$type0 as $crate::wire::any::Any>::any(seed)))?,
                }
            }
        }
    };

    // A struct without a lifetime.
    (@own $name:ident $($field:tt)*) => {
        impl<'w> $crate::wire::Take<'w> for $name {
            fn take(from: &mut $crate::wire::Reader<'w>) -> Self {
                Self { $($field: $crate::wire::Take::take(from),)* }
            }
        }
        wire!(@put [$name] $($field)*);

        #[cfg(test)]
        impl $crate::wire::any::Any for $name {
            fn any(seed: &mut $crate::wire::any::Seed) -> Self {
                Self { $($field: $crate::wire::any::Any::any(seed),)* }
            }
        }
    };

    (@put [$($name:tt)*] $($field:tt)*) => {
        impl $crate::wire::Put for $($name)* {
            fn put(&self, to: &mut $crate::wire::Writer<'_>) {
                $($crate::wire::Put::put(&self.$field, to);)*
            }
        }
    };
}
pub(crate) use wire;
