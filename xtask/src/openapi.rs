//! `cargo xtask openapi`: the OpenAPI document of the code becomes the committed one.

use anyhow::Result;

use crate::run;

/// Runs `cargo xtask openapi`: the test that compares the two writes when it is told to.
///
/// # Errors
/// When the code cannot be built or the document not be written.
pub fn run() -> Result<()> {
    let mut test = run::cargo();
    test.env("SNOWSHED_WRITE_OPENAPI", "1").args(["test", "--quiet", "--package", "tests", "--test", "control", "--"]);
    test.arg("the_committed_document_is_the_one_that_the_code_makes");
    run::checked(&mut test)?;
    println!("docs/openapi.json is what the code makes");
    Ok(())
}
