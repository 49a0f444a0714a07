//! Names of cells.

/// Longest name, in bytes.
const MOST: usize = 31;

/// Names that mean something else to `cellctl`.
const RESERVED: [&str; 1] = ["root"];

/// Why `name` cannot be the name of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadName {
    /// It is empty, too long, or has other characters than names have.
    Form,
    /// It is what this Linux is called.
    Reserved,
}

impl BadName {
    /// What names may be.
    #[must_use]
    pub fn help(self) -> String {
        match self {
            Self::Form => {
                format!("use 1 to {MOST} of a-z, 0-9, - and _, a letter or digit first")
            }
            Self::Reserved => "`root` is what this Linux is called: take another name".to_owned(),
        }
    }
}

/// Whether a cell can have this name: 1 to 31 of `a-z 0-9 - _`, the first one a
/// letter or a digit, so that it is no option of a command and no path.
///
/// # Errors
///
/// Why not.
pub fn check(name: &str) -> Result<(), BadName> {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let good = |b: u8| plain(b) || matches!(b, b'-' | b'_');
    let first = name.bytes().next().is_some_and(plain);
    if !first || name.len() > MOST || !name.bytes().all(good) {
        return Err(BadName::Form);
    }
    match RESERVED.contains(&name) {
        true => Err(BadName::Reserved),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_options_no_paths_and_not_the_roots() {
        for good in ["a", "0", "web-0", "a_b", &"x".repeat(MOST)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "", "-h", "--force", "_x", "../x", "a/b", "A", "\u{e4}", "a b", ".",
        ] {
            assert_eq!(check(bad), Err(BadName::Form), "{bad}");
        }
        assert_eq!(check(&"x".repeat(MOST + 1)), Err(BadName::Form));
        assert_eq!(check("root"), Err(BadName::Reserved));
    }
}
