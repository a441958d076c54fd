/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind the handles of sandboxes share. */
#ifndef MSB_SANDBOX_SANDBOX_H
#define MSB_SANDBOX_SANDBOX_H

#include "sandbox/client.h"

/* A handle for one that was launched just now; takes the connection, which is told of the end. */
msb_sandbox *sandbox_launched(const char *name, struct client *client, msb_error **err);

/* A new connection to its monitor, which has been greeted once the first request is sent. */
int sandbox_connect(msb_sandbox *sandbox, struct client *client, const struct patience *patience, msb_error **err);

/* One request and its answer over a connection of its own; frees the request. The answer is of type wanted; *client is to be closed when
   its body, which is for the caller to read, is not needed any more. */
int sandbox_ask(msb_sandbox *sandbox, struct request *request, struct client *client, enum control wanted, struct reader *body,
                const struct patience *patience, msb_error **err);

int check_signal(int signal, msb_error **err);

#endif
