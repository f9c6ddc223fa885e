//! The canvas of every picture: its size, its fonts, and its colours, which are
//! roles until it is known whether a page or a file of its own holds it.

use std::fmt::Write as _;

use maud::{PreEscaped, html};
use plotters::prelude::*;
use plotters::style::FontFamily;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Headings;

/// The size that a reader sees, in CSS pixels.
pub(super) const WIDTH: u32 = 460;
/// The backend rounds to whole pixels, so it draws on a canvas this much larger.
const FINENESS: u32 = 4;

/// What a colour is for. Each is drawn in a colour that stands for nothing but
/// the role, and replaced in the finished text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ink,
    Muted,
    Grid,
    Data,
    Second,
    Third,
    Fourth,
    Limit,
    Mark,
    Paper,
}

impl Role {
    const ALL: [Self; 10] = [
        Self::Ink,
        Self::Muted,
        Self::Grid,
        Self::Data,
        Self::Second,
        Self::Third,
        Self::Fourth,
        Self::Limit,
        Self::Mark,
        Self::Paper,
    ];

    pub(super) fn colour(self) -> RGBColor {
        RGBColor(1, 2, self as u8)
    }

    fn placeholder(self) -> String {
        format!("\"#0102{:02X}\"", self as u8)
    }

    /// The variable of the page's style sheet.
    fn variable(self) -> &'static str {
        match self {
            Self::Ink => "\"var(--ink)\"",
            Self::Muted => "\"var(--muted)\"",
            Self::Grid => "\"var(--line)\"",
            Self::Data => "\"var(--data)\"",
            Self::Second => "\"var(--second)\"",
            Self::Third => "\"var(--third)\"",
            Self::Fourth => "\"var(--fourth)\"",
            Self::Limit => "\"var(--fail)\"",
            Self::Mark => "\"var(--mark)\"",
            Self::Paper => "\"var(--paper)\"",
        }
    }

    fn light(self) -> &'static str {
        match self {
            Self::Ink => "\"#1c2430\"",
            Self::Muted => "\"#5b6675\"",
            Self::Grid => "\"#dfe4ea\"",
            Self::Data => "\"#2f6db5\"",
            Self::Second => "\"#b3560b\"",
            Self::Third => "\"#1d7a4c\"",
            Self::Fourth => "\"#7b3fa0\"",
            Self::Limit => "\"#b3261e\"",
            Self::Mark => "\"#8a5a00\"",
            Self::Paper => "\"#ffffff\"",
        }
    }
}

/// Lengths on the canvas, from CSS pixels.
pub(super) fn px(length: u32) -> u32 {
    length * FINENESS
}

/// A position on the canvas, from CSS pixels.
pub(super) fn at(x: u32, y: u32) -> (i32, i32) {
    let place = |it: u32| i32::try_from(px(it)).unwrap_or(i32::MAX);
    (place(x), place(y))
}

/// How thick a line is.
pub(super) fn stroke(role: Role, width: u32) -> ShapeStyle {
    role.colour().stroke_width(px(width))
}

/// Text of a size in CSS pixels.
pub(super) fn font(role: Role, size: u32, style: FontStyle, anchor: Pos) -> TextStyle<'static> {
    // The backend divides by this to turn a font's height into its size.
    let height = f64::from(px(size)) * 1.24;
    TextStyle {
        font: (FontFamily::SansSerif, height, style).into_font(),
        color: role.colour().to_backend_color(),
        pos: anchor,
    }
}

pub(super) const LEFT: Pos = Pos { h_pos: HPos::Left, v_pos: VPos::Top };
pub(super) const RIGHT: Pos = Pos { h_pos: HPos::Right, v_pos: VPos::Top };

pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
pub(super) type DrawResult = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The height of the headings, in CSS pixels.
pub(super) const HEADINGS: u32 = 46;
/// The size of the text on axes and marks, in CSS pixels.
pub(super) const SMALL: u32 = 13;

/// A finished picture without its outermost element.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    body: String,
    /// In CSS pixels.
    height: u32,
}

impl Drawing {
    /// Draws the headings and whatever `paint` adds.
    pub(super) fn new(
        headings: &Headings,
        height: u32,
        paint: impl FnOnce(&Canvas<'_>) -> DrawResult,
    ) -> Option<Self> {
        let mut text = String::new();
        let canvas =
            SVGBackend::with_string(&mut text, (px(WIDTH), px(height))).into_drawing_area();
        let result = write_headings(&canvas, headings)
            .and_then(|()| paint(&canvas))
            .and_then(|()| canvas.present());
        drop(canvas);
        // It draws into memory: only numbers that no axis can hold make it fail.
        result.ok()?;
        let body = text.split_once(">\n")?.1.trim_end().strip_suffix("</svg>")?;
        Some(Self { body: body.replace(" opacity=\"1\"", ""), height })
    }

    pub(super) fn standalone(&self, title: &str, description: &str) -> String {
        let mut body =
            format!("<rect width=\"100%\" height=\"100%\" fill={}/>\n", Role::Paper.light());
        body += &self.coloured(Role::light);
        let size = format!(" width=\"{WIDTH}\" height=\"{}\"", self.height);
        self.wrap(&body, &size, "chart", title, description)
    }

    pub(super) fn inline(&self, id: &str, title: &str, description: &str) -> String {
        self.wrap(&self.coloured(Role::variable), "", id, title, description)
    }

    fn coloured(&self, paint: fn(Role) -> &'static str) -> String {
        Role::ALL
            .iter()
            .fold(self.body.clone(), |body, it| body.replace(&it.placeholder(), paint(*it)))
    }

    fn wrap(&self, body: &str, size: &str, id: &str, title: &str, description: &str) -> String {
        let words = html! {
            title id={ (id) "t" } { (title) }
            desc id={ (id) "d" } { (description) }
        };
        let mut svg = String::with_capacity(body.len() + 512);
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\"{size} role=\"img\" \
             aria-labelledby=\"{id}t {id}d\">{}\n{}</svg>\n",
            px(WIDTH),
            px(self.height),
            words.into_string(),
            PreEscaped(body).into_string(),
        );
        svg
    }
}

fn write_headings(canvas: &Canvas<'_>, headings: &Headings) -> DrawResult {
    let first = font(Role::Ink, 15, FontStyle::Bold, LEFT);
    let second = font(Role::Muted, 13, FontStyle::Normal, LEFT);
    canvas.draw_text(&fitting(&headings.first, 52), &first, at(6, 4))?;
    canvas.draw_text(&fitting(&headings.second, 62), &second, at(6, 24))
}

/// The head of a text that fits; the whole one stands in the picture's title.
pub(super) fn fitting(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}
