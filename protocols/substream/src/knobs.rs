//! Parameters of a state machine, each with its effect and the source of its default in one place.

/// Defines a struct of parameters: for each field the documented default, a getter and a `with_` setter.
///
/// ```
/// substream::knobs! {
///     /// How we knock.
///     Knocking;
///
///     /// How often before we give up.
///     /// Defaults to 3 (guess).
///     times, with_times: u32 = 3;
/// }
/// assert_eq!(Knocking::default().times(), 3);
/// assert_eq!(Knocking::default().with_times(5).times(), 5);
/// ```
#[macro_export]
macro_rules! knobs {
    (
        $(#[$about:meta])* $name:ident;
        $( $(#[$doc:meta])* $field:ident, $with:ident: $kind:ty = $default:expr; )*
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $( $field: $kind, )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $name {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $field(&self) -> $kind {
                    self.$field
                }

                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, value: $kind) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }
    };
}
