use super::*;
use crate::testing::block_on;
use iso::tests::image;

const URL: &str = "file:///";

/// A server's folder with images in it, and media that takes them from there.
struct Place {
    dir: tempfile::TempDir,
    media: Media,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let from = format!("{URL}{}/", &dir.path().display().to_string()[1..]);
        let policy = Policy {
            from: vec![from],
            largest_mib: 1,
            ..Policy::default()
        };
        assert_eq!(policy.mistake(), None);
        let media = Media::new(Some(policy), dir.path()).expect("media");
        Self { dir, media }
    }

    fn insert(&self, name: &str, bytes: &[u8]) -> Result<Inserted> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        block_on(
            self.media
                .insert("web", &format!("file://{}", path.display())),
        )
    }

    fn kept(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.dir.path().join(FOLDER).join("web").join(name)).ok()
    }
}

const MENU_TEXT: &[u8] =
    b"default boot\nlabel boot\nkernel /vmlinuz\nappend initrd=/initrd,/more a=b\n";

fn whole() -> Vec<u8> {
    image(&[
        ("isolinux/isolinux.cfg", MENU_TEXT),
        ("vmlinuz", b"kernel"),
        ("initrd", b"12345"),
        ("more", b"678"),
    ])
}

#[test]
fn what_an_image_boots_is_kept() {
    let place = Place::new();
    assert!(matches!(place.insert("a.iso", &whole()), Ok(Inserted::Yes)));
    assert_eq!(place.kept(KERNEL).expect("a kernel"), b"kernel");
    assert_eq!(
        place.kept(INITRD).expect("a disk"),
        b"12345\x00\x00\x00678\x00"
    );
    assert_eq!(place.kept(WORDS).expect("words"), b"a=b");
    // Another one takes its place, whole.
    let plain = image(&[("vmlinuz", b"k"), ("initrd", b"i")]);
    assert!(matches!(place.insert("b.iso", &plain), Ok(Inserted::Yes)));
    assert_eq!(place.kept(WORDS).expect("words"), b"");
    assert_eq!(place.kept(INITRD).expect("a disk"), b"i\0\0\0");
    place.media.eject("web").expect("ejects");
    assert_eq!(place.kept(KERNEL), None);
    assert_eq!(place.media.drive("web"), Drive::default());
}

#[test]
fn what_is_of_no_use_leaves_the_drive_as_it_was() {
    let place = Place::new();
    assert!(matches!(place.insert("a.iso", &whole()), Ok(Inserted::Yes)));
    let before = place.media.drive("web");
    let lacking = image(&[("isolinux/isolinux.cfg", MENU_TEXT), ("vmlinuz", b"kernel")]);
    let long = [
        b"label a\nkernel /vmlinuz\nappend ".to_vec(),
        vec![b'x'; 3000],
    ]
    .concat();
    let wordy = image(&[("isolinux.cfg", &long), ("vmlinuz", b"kernel")]);
    for (bytes, why) in [
        (image(&[("readme", b"no")]), "no menu names a kernel"),
        (lacking, "/initrd is not in it"),
        (wordy, "its command line is too long"),
        (b"text".repeat(20_000), "it is no ISO 9660 image"),
        (vec![0; 2 << 20], "it has more than 1 MiB"),
    ] {
        let told = place.insert("bad.iso", &bytes).expect_err(why);
        assert!(told.why.contains(why), "{told}");
        assert_eq!(place.media.drive("web"), before);
        assert_eq!(place.kept(KERNEL).expect("a kernel"), b"kernel");
    }
    let forbidden = block_on(place.media.insert("web", "file:///etc/hostname"));
    assert!(matches!(forbidden, Ok(Inserted::Forbidden)));
}

#[test]
fn once_is_over_with_a_start_and_all_is_kept_from_start_to_start() {
    let place = Place::new();
    assert!(matches!(place.insert("a.iso", &whole()), Ok(Inserted::Yes)));
    assert_eq!(place.media.boots("web"), Boots::Slice);
    for (enabled, target, boots, then) in [
        (Enabled::Once, Target::Cd, Boots::Media, Boots::Slice),
        (
            Enabled::Continuous,
            Target::Cd,
            Boots::MediaAgain,
            Boots::MediaAgain,
        ),
        (Enabled::Continuous, Target::Hdd, Boots::Slice, Boots::Slice),
        (Enabled::Once, Target::Hdd, Boots::Slice, Boots::Slice),
    ] {
        place.media.set("web", enabled, target).expect("kept");
        let again = Media::new(place.media.policy.clone(), place.dir.path()).expect("media");
        assert_eq!(again.drive("web"), place.media.drive("web"));
        assert_eq!(again.boots("web"), boots);
        place.media.started("web").expect("kept");
        assert_eq!(place.media.boots("web"), then);
    }
    place
        .media
        .set("web", Enabled::Continuous, Target::Cd)
        .expect("kept");
    place.media.eject("web").expect("ejects");
    assert_eq!(place.media.boots("web"), Boots::Slice, "an empty drive");
}
