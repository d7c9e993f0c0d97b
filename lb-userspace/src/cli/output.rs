//! Output formats: a table for people, the API's own shapes as JSON or YAML for programs.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use super::failure::Failure;
use super::terminal::Terminal;

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// The ids alone, one a line: for xargs.
    Name,
    /// The API's answer as JSON.
    Json,
    /// The API's answer as YAML.
    Yaml,
}

/// A column: its heading, and how a row of the API's answer fills it.
pub struct Column {
    heading: &'static str,
    number: bool,
    wide: bool,
    cell: fn(&Value) -> String,
}

impl Format {
    /// Whether it is one for people.
    #[must_use]
    pub const fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

impl Column {
    /// A column of text that is shown when there is room for more.
    #[must_use]
    pub const fn wide(heading: &'static str, cell: fn(&Value) -> String) -> Self {
        Self { heading, number: false, wide: true, cell }
    }

    /// A column of text.
    #[must_use]
    pub const fn text(heading: &'static str, cell: fn(&Value) -> String) -> Self {
        Self { heading, number: false, wide: false, cell }
    }

    /// A column of numbers.
    #[must_use]
    pub const fn number(heading: &'static str, cell: fn(&Value) -> String) -> Self {
        Self { heading, number: true, wide: false, cell }
    }
}

/// Beside the other columns when something that is shown is deleted.
const DELETED: Column = Column::text("DELETED", |row| text(row, "/deleted_at"));

/// Shows a list of objects.
///
/// # Errors
/// When the output cannot be written.
pub fn list(terminal: &mut Terminal, format: Format, rows: &[Value], columns: &[Column]) -> Result<(), Failure> {
    if !format.is_table() {
        return value(terminal, format, &Value::Array(rows.to_vec()));
    }
    if rows.is_empty() {
        return terminal.note("none");
    }
    let is_deleted = rows.iter().any(|row| !text(row, "/deleted_at").is_empty());
    let deleted = is_deleted.then_some(&DELETED);
    let is_shown = |column: &&Column| !column.wide || format == Format::Wide;
    let columns: Vec<&Column> = columns.iter().filter(is_shown).chain(deleted).collect();
    let mut table = table(terminal);
    table.set_header(columns.iter().map(|column| column.heading).collect::<Vec<_>>());
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(&(column.cell)(row), column.number)).collect::<Vec<_>>());
    }
    print_table(terminal, &table)
}

/// Shows one object: a table of two columns, or the API's shape.
///
/// # Errors
/// When the output cannot be written.
pub fn object(
    terminal: &mut Terminal,
    format: Format,
    object: &Value,
    fields: &[(&str, String)],
) -> Result<(), Failure> {
    if !format.is_table() {
        return value(terminal, format, object);
    }
    let mut table = table(terminal);
    let deleted = [("deleted", text(object, "/deleted_at"))];
    for (name, text) in fields.iter().chain(&deleted).filter(|(_, text)| !text.is_empty()) {
        table.add_row(vec![Cell::new(name), cell(text, false)]);
    }
    print_table(terminal, &table)
}

/// Shows a value in a format for programs.
///
/// # Errors
/// When the output cannot be written.
pub fn value(terminal: &mut Terminal, format: Format, value: &Value) -> Result<(), Failure> {
    if format == Format::Name {
        return names(terminal, value);
    }
    let text = if format == Format::Yaml {
        serde_saphyr::to_string(value).map_err(|error| Failure::error(format!("no YAML can be made of it: {error}")))?
    } else {
        serde_json::to_string_pretty(value)
            .map_err(|error| Failure::error(format!("no JSON can be made of it: {error}")))?
    };
    terminal.line(text.trim_end())
}

/// The ids alone, or what else names things that have none.
fn names(terminal: &mut Terminal, value: &Value) -> Result<(), Failure> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| names(terminal, item));
    }
    let name = ["/id", "/address", "/name"].iter().map(|pointer| text(value, pointer)).find(|name| !name.is_empty());
    let name =
        name.ok_or_else(|| Failure::usage("`-o name` shows ids, and this has none: `-o json` shows all of it"))?;
    terminal.line(name)
}

/// An empty table in the one style of this program: it wraps on a terminal, and never in a pipe.
#[must_use]
pub fn table(terminal: &Terminal) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match terminal.width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if terminal.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// Writes a table.
///
/// # Errors
/// When the output cannot be written.
pub fn print_table(terminal: &mut Terminal, table: &Table) -> Result<(), Failure> {
    terminal.line(table.trim_fmt())
}

/// A cell. States are coloured by their word, the same word the same colour everywhere.
#[must_use]
pub fn cell(text: &str, number: bool) -> Cell {
    let shown = if text.is_empty() { "-" } else { text };
    let cell = Cell::new(shown).set_alignment(if number { CellAlignment::Right } else { CellAlignment::Left });
    match shown {
        "ready" | "up" | "passed" => cell.fg(Color::Green),
        "pending" | "drain" | "standby" | "out" | "to_create" | "creating" => cell.fg(Color::Yellow),
        "error" | "down" | "to_delete" | "deleting" => cell.fg(Color::Red),
        _ => cell,
    }
}

/// The text at a JSON pointer; numbers and booleans as text, lists joined by commas, anything else empty.
#[must_use]
pub fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map_or_else(String::new, plain)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Object(_) => String::new(),
    }
}
