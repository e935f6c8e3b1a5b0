/* SPDX-License-Identifier: MIT */
/* The command table of kv_command.h, and the commands about keys and connections. */
#include "kv_command.h"
#include "kv_protocol.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

bool kv_slice_is(struct kv_slice slice, const char *word)
{
	return slice.nbytes == strlen(word) && !strncasecmp(slice.data, word, slice.nbytes);
}

void kv_reply_wrong_type(struct kv_buffer *out)
{
	kv_reply_error(out, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

void kv_reply_no_memory(struct kv_buffer *out)
{
	kv_reply_error(out, "OOM out of memory");
}

static void command_ping(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	if (count > 1)
		kv_reply_bulk(session->out, arguments[1].data, arguments[1].nbytes);
	else
		kv_reply_status(session->out, "PONG");
}

static void command_echo(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)count;
	kv_reply_bulk(session->out, arguments[1].data, arguments[1].nbytes);
}

static void command_del(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	struct kv_value *value;
	int64_t removed = 0;

	for (size_t i = 1; i < count; i++) {
		kv_place_open(&place, session->service->table, arguments[i]);
		value = place.entry ? kv_place_remove(&place) : NULL;
		kv_place_close(&place);
		removed += value != NULL;
		kv_value_free(value);
	}
	kv_reply_integer(session->out, removed);
}

static void command_exists(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	int64_t found = 0;

	for (size_t i = 1; i < count; i++) {
		kv_place_open(&place, session->service->table, arguments[i]);
		found += place.entry != NULL;
		kv_place_close(&place);
	}
	kv_reply_integer(session->out, found);
}

static void command_dbsize(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)arguments;
	(void)count;
	kv_reply_integer(session->out, (int64_t)kv_table_count(session->service->table));
}

static void command_flushall(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)arguments;
	(void)count;
	kv_table_clear(session->service->table);
	kv_reply_status(session->out, "OK");
}

/* Clients ask for settings when they start. Nothing is saved to disk here; other settings are unknown. */
static void command_config(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	static const char *const settings[][2] = { { "save", "" }, { "appendonly", "no" }, { "databases", "1" } };

	if (count != 3 || !kv_slice_is(arguments[1], "get")) {
		kv_reply_error(session->out, "ERR only CONFIG GET name is known");
		return;
	}
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		if (!kv_slice_is(arguments[2], settings[i][0]))
			continue;
		kv_reply_array(session->out, 2);
		kv_reply_bulk(session->out, settings[i][0], strlen(settings[i][0]));
		kv_reply_bulk(session->out, settings[i][1], strlen(settings[i][1]));
		return;
	}
	kv_reply_array(session->out, 0);
}

/* Interactive clients fetch command descriptions; an empty answer makes them go on without. */
static void command_command(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)arguments;
	(void)count;
	kv_reply_array(session->out, 0);
}

static void command_select(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)count;
	if (kv_slice_is(arguments[1], "0"))
		kv_reply_status(session->out, "OK");
	else
		kv_reply_error(session->out, "ERR DB index is out of range");
}

static void command_quit(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)arguments;
	(void)count;
	session->closing = true;
	kv_reply_status(session->out, "OK");
}

/* The main thread waits for this signal and stops the workers. */
static void command_shutdown(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	(void)arguments;
	(void)count;
	session->closing = true;
	kv_reply_status(session->out, "OK");
	kill(getpid(), SIGTERM);
}

static const struct command {
	const char *name;
	size_t least; /* arguments, the name included */
	size_t most;  /* 0: no limit */
	kv_handler *run;
} commands[] = {
	{ "get", 2, 2, kv_command_get },
	{ "set", 3, 0, kv_command_set },
	{ "del", 2, 0, command_del },
	{ "exists", 2, 0, command_exists },
	{ "incr", 2, 2, kv_command_incr },
	{ "mget", 2, 0, kv_command_mget },
	{ "mset", 3, 0, kv_command_mset },
	{ "append", 3, 3, kv_command_append },
	{ "strlen", 2, 2, kv_command_strlen },
	{ "lpush", 3, 0, kv_command_lpush },
	{ "rpush", 3, 0, kv_command_rpush },
	{ "lpop", 2, 2, kv_command_lpop },
	{ "rpop", 2, 2, kv_command_rpop },
	{ "llen", 2, 2, kv_command_llen },
	{ "lrange", 4, 4, kv_command_lrange },
	{ "hset", 4, 0, kv_command_hset },
	{ "hget", 3, 3, kv_command_hget },
	{ "hlen", 2, 2, kv_command_hlen },
	{ "ping", 1, 2, command_ping },
	{ "echo", 2, 2, command_echo },
	{ "dbsize", 1, 1, command_dbsize },
	{ "flushall", 1, 2, command_flushall },
	{ "info", 1, 2, kv_command_info },
	{ "config", 2, 0, command_config },
	{ "command", 1, 0, command_command },
	{ "select", 2, 2, command_select },
	{ "quarry", 2, 2, kv_command_quarry },
	{ "object", 3, 3, kv_command_object },
	{ "quit", 1, 0, command_quit },
	{ "shutdown", 1, 2, command_shutdown },
};

/* Name what is unknown, with anything unprintable replaced: an error must stay one line. */
static void reply_unknown(struct kv_buffer *out, struct kv_slice name)
{
	char shown[41];
	char text[80];
	size_t nbytes = name.nbytes < sizeof(shown) - 1 ? name.nbytes : sizeof(shown) - 1;

	for (size_t i = 0; i < nbytes; i++)
		shown[i] = name.data[i] >= ' ' && name.data[i] <= '~' ? name.data[i] : '?';
	shown[nbytes] = '\0';
	snprintf(text, sizeof(text), "ERR unknown command '%s'", shown);
	kv_reply_error(out, text);
}

void kv_command_run(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	char text[80];

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!kv_slice_is(arguments[0], commands[i].name))
			continue;
		if (count >= commands[i].least && (!commands[i].most || count <= commands[i].most)) {
			commands[i].run(session, arguments, count);
			return;
		}
		snprintf(text, sizeof(text), "ERR wrong number of arguments for '%s' command", commands[i].name);
		kv_reply_error(session->out, text);
		return;
	}
	reply_unknown(session->out, arguments[0]);
}
