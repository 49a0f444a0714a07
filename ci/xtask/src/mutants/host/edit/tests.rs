//! Small sources, and what becomes of them.

use super::*;

fn edited(source: &str) -> Edited {
    edit(source, 1, &BTreeSet::new()).expect("parses")
}

fn whats(source: &str) -> Vec<String> {
    let mutants = edited(source).mutants;
    mutants.into_iter().map(|mutant| mutant.what).collect()
}

#[test]
fn operators_are_computed_once_and_chosen_by_number() {
    let source = "fn f(a: u64, b: u64) -> P { g(a + b == 3) }";
    let text = "fn f(a: u64, b: u64) -> P { g((match (&((match ((a ), ( b)) { (l__, r__) => \
        if crate::mutants::on(2) { l__ - r__ } else { l__ + r__ } }) ), &( 3)) { (l__, r__) => \
        if crate::mutants::on(1) { *l__ != *r__ } else { *l__ == *r__ } })) }";
    assert_eq!(edited(source).text, text);
    assert_eq!(whats(source), ["== → !=", "+ → -"]);
}

#[test]
fn lazy_operators_stay_lazy() {
    // Off, `m__` is false: a true left side ends `||`, a false one `&&`.
    let text = edited("fn f() -> P { g(a && b, c || d) }").text;
    assert!(
        text.contains("if l__ == m__ { m__ } else { b } }"),
        "{text}"
    );
    assert!(
        text.contains("if l__ != m__ { !m__ } else { d } }"),
        "{text}"
    );
}

#[test]
fn places_without_a_switch_are_left_alone() {
    for source in [
        "const A: u64 = 1 << 3;",
        "#[cfg(test)] mod tests { fn f() { g(1 + 1); } }",
        "#[test] fn f() { g(1 + 1); }",
        "fn f(x: P) -> P { if let Some(y) = x && y > 3 { 1 } else { 2 } }",
        "fn f(x: P) -> P { match x { None => a, Some => b } }",
    ] {
        // Of the let chain, the comparison alone.
        let most = usize::from(source.contains("let Some")) * 2;
        assert_eq!(whats(source).len(), most, "{source}");
    }
}

#[test]
fn functions_arms_guards_and_statements() {
    assert_eq!(
        whats("fn f() -> bool { g() }"),
        ["return true", "return false"]
    );
    assert_eq!(whats("fn f() -> Option<u8> { g() }"), ["return None"]);
    assert_eq!(whats("fn f() -> P { g(); h() }"), ["delete statement"]);
    let arms = "fn f() -> P { match x { 1 => a, 2 if y => b, _ => c } }";
    assert_eq!(
        whats(arms),
        ["delete match arm", "guard → true", "guard → false"]
    );
}

#[test]
fn lines_and_places_are_those_of_the_source() {
    let source = "fn f() -> P {\n    g(1);\n    h(2 << 3)\n}\n";
    let found = edited(source);
    let shift = &found.mutants[1];
    assert_eq!((shift.line, shift.what.as_str()), (3, "<< → >>"));
    // The compiler objects to something in the third line of the new text.
    let place = found.place_at(3, 20).expect("a place");
    assert_eq!(&source[place.clone()], "2 << 3");
    let without = BTreeSet::from([(place.start, place.end)]);
    let rest = edit(source, 1, &without).expect("parses");
    assert_eq!(rest.mutants.len(), 1);
    assert!(rest.text.contains("h(2 << 3)"));
}

#[test]
fn modules_of_tests_are_found() {
    let source = "mod a;\n#[cfg(test)]\nmod fake;\n#[cfg(test)]\nmod tests { }\n";
    assert_eq!(test_modules(source).expect("parses"), ["fake"]);
}
