//! Aligned columns and wrapped lists.

use super::{Paint, WIDTH};

/// The width of the left column of every section.
pub(super) const LEFT: usize = 14;

/// A section: its title in the left column, its lines in the right one.
pub(super) fn section(out: &mut String, paint: Paint, title: &str, lines: &[String]) {
    for (i, line) in lines.iter().enumerate() {
        let left = if i == 0 { title } else { "" };
        let padded = format!("{left:<LEFT$}");
        let text = format!("{}{line}", paint.bold(&padded));
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

/// Columns under a head; the first is aligned left, the others right.
pub(super) fn columns(paint: Paint, head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(head[column].chars().count())
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            match i {
                0 => text.push_str(&format!("{cell:<width$}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![paint.dim(&line(head.to_vec()))];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(|c| &**c).collect())),
    );
    lines
}

/// Items joined by `separator`, broken into lines that fit beside the left column.
pub(super) fn wrapped(items: &[String], separator: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line)
                if line.chars().count() + separator.len() + item.chars().count()
                    <= WIDTH - LEFT =>
            {
                line.push_str(separator);
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines
}
