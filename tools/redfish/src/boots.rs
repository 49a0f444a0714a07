//! What a cell boots, as server and root both know it: its slice's, or what the server keeps
//! of an image.

/// Where the files of a system's image are, from the server's folder: one for each system.
pub(crate) const FOLDER: &str = "media";

/// What is kept of an image.
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const INITRD: &str = "initrd";
pub(crate) const WORDS: &str = "words";

/// What a cell boots when it is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Boots {
    /// What its slice says.
    #[default]
    Slice,
    /// The image that is inserted, this time.
    Media,
    /// The image, and again when the cell restarts by itself.
    MediaAgain,
}

impl Boots {
    pub(crate) const ALL: [(Self, &'static str); 3] = [
        (Self::Slice, "slice"),
        (Self::Media, "media"),
        (Self::MediaAgain, "media-again"),
    ];
}
