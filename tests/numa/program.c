/* SPDX-License-Identifier: MIT */
/*
 * The scenario of a real program: sqlite3 on every CPU at once, each bound to its node, with a database in memory.
 * While they wait for more input the kernel's numa_maps tells the policy of each of their mappings and where its pages
 * lie.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "placement.h"

#define PROGRAM "/usr/bin/sqlite3"

struct client {
	pid_t pid;
	int node;
	int to, from; /* its standard input and output */
};

/* Builds, changes and indexes tables, then says that it is ready. */
static const char script[] =
	"CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, body BLOB);\n"
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)\n"
	"	INSERT INTO item SELECT i, printf('item %05d', i * 7919 % 6001), zeroblob(i * 31 % 1500) FROM n;\n"
	"CREATE INDEX by_name ON item(name COLLATE NOCASE);\n"
	"UPDATE item SET body = zeroblob(length(body) * 7 % 2000), name = upper(name) WHERE id % 3 = 0;\n"
	"DELETE FROM item WHERE id % 5 = 0;\n"
	"SELECT CASE count(*) WHEN 4800 THEN 'ready' ELSE 'wrong' END FROM item;\n";

static struct client start(int index)
{
	struct client client = { .node = machine.node[index] };
	int in[2], out[2];

	CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	client.pid = fork();
	CHECK(client.pid >= 0);
	if (client.pid == 0) {
		run_on(index);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(PROGRAM, PROGRAM, "-batch", ":memory:", (char *)NULL);
		FAIL("%s cannot be started", PROGRAM);
	}
	close(in[0]);
	close(out[1]);
	client.to = in[1];
	client.from = out[0];
	CHECK(write(client.to, script, sizeof script - 1) == sizeof script - 1);
	return client;
}

static void await_ready(const struct client *client)
{
	char answer[16] = "";
	size_t length = 0;

	while (length < sizeof answer - 1 && !memchr(answer, '\n', length)) {
		ssize_t got = read(client->from, answer + length, sizeof answer - 1 - length);
		CHECK(got > 0);
		length += (size_t)got;
	}
	if (strcmp(answer, "ready\n") != 0)
		FAIL("%s answers %s", PROGRAM, answer);
}

/* After " N" comes the node, after "=" the number of pages there. */
static void count_pages(const char *line, int node, struct tally *tally)
{
	for (const char *found = line; (found = strstr(found, " N")) != NULL; found += 2) {
		char *end;
		long at = strtol(found + 2, &end, 10);
		uint64_t pages = *end == '=' ? strtoull(end + 1, NULL, 10) : 0;

		tally->right += at == node ? pages : 0;
		tally->total += pages;
	}
}

/* Of mappings without a file, but the stack: all pages against the program's node, those of a mapping that prefers a
 * node against that. */
static void read_maps(const struct client *client, struct tally *on_node, struct tally *preferred)
{
	char path[64], line[4096];

	snprintf(path, sizeof path, "/proc/%d/numa_maps", (int)client->pid);
	FILE *maps = fopen(path, "re");
	CHECK(maps);
	while (fgets(line, sizeof line, maps)) {
		const char *policy = strstr(line, " prefer");

		if (strstr(line, " file=") || strstr(line, " stack"))
			continue;
		count_pages(line, client->node, on_node);
		if (policy && (policy = strchr(policy, ':')) != NULL)
			count_pages(line, atoi(policy + 1), preferred);
	}
	fclose(maps);
}

static void finish(struct client *client)
{
	int status;

	close(client->to);
	CHECK(waitpid(client->pid, &status, 0) == client->pid);
	if (status != 0)
		FAIL("%s ended with status %#x", PROGRAM, (unsigned)status);
	close(client->from);
}

int scenario_program(void)
{
	struct client clients[MAX_CPUS];
	struct tally on_node = { 0 }, preferred = { 0 };

	for (int i = 0; i < machine.ncpus; i++)
		clients[i] = start(i);
	for (int i = 0; i < machine.ncpus; i++) {
		await_ready(&clients[i]);
		read_maps(&clients[i], &on_node, &preferred);
	}
	for (int i = 0; i < machine.ncpus; i++)
		finish(&clients[i]);
	figure("program", on_node);
	if (preferred.total != 0)
		figure("program-arena", preferred);
	return 0;
}
