/* SPDX-License-Identifier: MIT */
/*
 * Profile as folded stacks, outermost frame first, and as a flame graph: an SVG of one bar per frame, as wide as its
 * part of the whole, above the frame that called it. A click on a bar makes it the whole, as far as the viewer runs
 * scripts.
 */
#include "profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define WIDTH 1200.0
#define ROW 18
#define TOP 48
#define MARGIN 10
#define LETTER 6.6    /* width of one in the bars' font */
#define LEAST 0.3     /* narrower bars are left out */

static const char no_stack[] = "(no stack)";

struct node {
	const char *name;
	uint64_t value;
	struct node *child, *next;
};

/* --- folded ------------------------------------------------------------------------------------------------------- */

/* What separates frames is no part of a name. */
static void put_name(FILE *file, const char *name)
{
	for (; *name; name++)
		fputc(*name == ';' ? ':' : (unsigned char)*name < ' ' ? ' ' : *name, file);
}

static bool end_of(FILE *file)
{
	bool good = !ferror(file);

	return fclose(file) == 0 && good;
}

bool profile_write_folded(const struct profile *profile, enum profile_value value, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return false;
	for (size_t i = 0; i < profile->nstacks; i++) {
		const struct profile_stack *stack = &profile->stacks[i];

		if (stack->values[value] == 0)
			continue;
		if (stack->nframes == 0)
			fputs(no_stack, file);
		for (size_t frame = stack->nframes; frame > 0; frame--) {
			put_name(file, profile->locations[stack->places[frame - 1]].name);
			if (frame > 1)
				fputc(';', file);
		}
		fprintf(file, " %" PRIu64 "\n", stack->values[value]);
	}
	return end_of(file);
}

/* --- tree --------------------------------------------------------------------------------------------------------- */

static struct node *make_node(const char *name)
{
	struct node *node = profile_room(NULL, sizeof *node);

	*node = (struct node){ .name = name };
	return node;
}

/* Children stand in the order of their names, so that equal profiles give equal pictures. */
static struct node *child_of(struct node *parent, const char *name)
{
	struct node **link = &parent->child, *fresh;

	while (*link && strcmp((*link)->name, name) < 0)
		link = &(*link)->next;
	if (*link && strcmp((*link)->name, name) == 0)
		return *link;
	fresh = make_node(name);
	fresh->next = *link;
	*link = fresh;
	return fresh;
}

static struct node *make_tree(const struct profile *profile, enum profile_value value)
{
	struct node *root = make_node("all");

	for (size_t i = 0; i < profile->nstacks; i++) {
		const struct profile_stack *stack = &profile->stacks[i];
		struct node *node = root;

		if (stack->values[value] == 0)
			continue;
		root->value += stack->values[value];
		if (stack->nframes == 0)
			child_of(root, no_stack)->value += stack->values[value];
		for (size_t frame = stack->nframes; frame > 0; frame--) {
			node = child_of(node, profile->locations[stack->places[frame - 1]].name);
			node->value += stack->values[value];
		}
	}
	return root;
}

static void free_tree(struct node *node)
{
	while (node) {
		struct node *next = node->next;

		free_tree(node->child);
		free(node);
		node = next;
	}
}

static unsigned depth_of(const struct node *node)
{
	unsigned most = 0;

	for (const struct node *child = node->child; child; child = child->next) {
		unsigned depth = depth_of(child);

		most = depth > most ? depth : most;
	}
	return most + 1;
}

/* --- picture ------------------------------------------------------------------------------------------------------ */

static void put_escaped(FILE *file, const char *text, size_t most)
{
	for (size_t i = 0; text[i] && i < most; i++) {
		if (text[i] == '&' || text[i] == '<' || text[i] == '>' || text[i] == '"')
			fprintf(file, "&#%d;", text[i]);
		else
			fputc((unsigned char)text[i] < ' ' ? ' ' : text[i], file);
	}
}

/* As many bytes, or a few less: the last character is whole. */
static size_t cut_off(const char *text, size_t nbytes)
{
	while (nbytes > 0 && (text[nbytes] & 0xc0) == 0x80)
		nbytes--;
	return nbytes;
}

/* Warm colours, one for each name. */
static void put_colour(FILE *file, const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	fprintf(file, "hsl(%u,%u%%,%u%%)", 8 + hash % 46, 65 + hash / 64 % 25, 58 + hash / 4096 % 12);
}

struct picture {
	FILE *file;
	uint64_t whole;
	unsigned height;
};

static void put_bar(const struct picture *picture, const struct node *node, double x, double width, unsigned depth)
{
	char text[TOOL_NBYTES_SIZE];
	size_t letters = (size_t)((width - 6) / LETTER), nbytes = strlen(node->name);
	unsigned y = picture->height - MARGIN - (depth + 1) * ROW;

	fprintf(picture->file, "<g class=\"f\" data-x=\"%.2f\" data-w=\"%.2f\"><title>", x, width);
	put_escaped(picture->file, node->name, SIZE_MAX);
	fprintf(picture->file, ": %s, %.2f %%</title><rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%d\" fill=\"",
		tool_nbytes(text, node->value), 100.0 * (double)node->value / (double)picture->whole, x, y, width,
		ROW - 1);
	put_colour(picture->file, node->name);
	fprintf(picture->file, "\"/><text x=\"%.2f\" y=\"%u\">", x + 3, y + ROW - 5);
	if (width > 6 + 3 * LETTER) {
		put_escaped(picture->file, node->name, nbytes <= letters ? nbytes : cut_off(node->name, letters - 2));
		if (nbytes > letters)
			fputs("..", picture->file);
	}
	fputs("</text></g>\n", picture->file);
}

static void put_tree(const struct picture *picture, const struct node *node, double x, unsigned depth)
{
	double width = (WIDTH - 2 * MARGIN) * (double)node->value / (double)picture->whole;

	if (width < LEAST)
		return;
	put_bar(picture, node, x, width, depth);
	for (const struct node *child = node->child; child; child = child->next) {
		put_tree(picture, child, x, depth + 1);
		x += (WIDTH - 2 * MARGIN) * (double)child->value / (double)picture->whole;
	}
}

/* Bars within the chosen one are stretched; those below it become as wide as the whole, and the others go. */
static const char script[] =
	"<script><![CDATA[\n"
	"var left = 10, all = 1180;\n"
	"document.querySelectorAll('g.f').forEach(function (bar, i, bars) {\n"
	"	bar.addEventListener('click', function () {\n"
	"		var x0 = +bar.dataset.x, w0 = +bar.dataset.w;\n"
	"		bars.forEach(function (other) {\n"
	"			var x = +other.dataset.x, w = +other.dataset.w;\n"
	"			var below = x <= x0 + 0.01 && x + w >= x0 + w0 - 0.01;\n"
	"			var inside = x >= x0 - 0.01 && x + w <= x0 + w0 + 0.01;\n"
	"			other.style.display = below || inside ? '' : 'none';\n"
	"			var at = below && !inside ? left : left + (x - x0) * all / w0;\n"
	"			var wide = below && !inside ? all : w * all / w0;\n"
	"			var rect = other.children[1], text = other.children[2];\n"
	"			var name = other.children[0].textContent.replace(/: [^:]*$/, ''), room = Math.floor((wide - 6) / 6.6);\n"
	"			rect.setAttribute('x', at);\n"
	"			rect.setAttribute('width', wide);\n"
	"			text.setAttribute('x', at + 3);\n"
	"			text.textContent = room < 3 ? '' : name.length <= room ? name : name.slice(0, room - 2) + '..';\n"
	"		});\n"
	"	});\n"
	"});\n"
	"]]></script>\n";

bool profile_write_svg(const struct profile *profile, enum profile_value value, const char *title, const char *path)
{
	struct picture picture = { .file = fopen(path, "we") };
	struct node *root;
	char text[TOOL_NBYTES_SIZE];

	if (!picture.file)
		return false;
	root = make_tree(profile, value);
	picture.whole = root->value ? root->value : 1;
	picture.height = TOP + depth_of(root) * ROW + MARGIN;
	fprintf(picture.file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%u\" viewBox=\"0 0 %.0f %u\">\n"
		"<style>text{font:11px monospace}g.f{cursor:pointer}g.f:hover rect{stroke:#333}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n<text x=\"%d\" y=\"20\" style=\"font-size:14px\">",
		WIDTH, picture.height, WIDTH, picture.height, MARGIN);
	put_escaped(picture.file, title, SIZE_MAX);
	fprintf(picture.file, ": %s</text>\n", tool_nbytes(text, root->value));
	put_tree(&picture, root, MARGIN, 0);
	fprintf(picture.file, "%s</svg>\n", script);
	free_tree(root);
	return end_of(picture.file);
}
