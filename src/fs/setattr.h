/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_FS_SETATTR_H
#define MSB_FS_SETATTR_H

#include "fs/request.h"

/* Takes the set-user-id and set-group-id bits and file capabilities away, as writing by another than root does
   (FUSE_HANDLE_KILLPRIV_V2). 0 or a negative errno. */
int drop_privileges(struct fs *fs, struct node *node);

#endif
