/** One item on the left while something runs; gone otherwise. */
import { StatusBarAlignment, ThemeColor, window, type Disposable } from 'vscode';
import { viewIds } from '../commands/ids';
import type { RunMonitor } from '../host/runMonitor';
import { throttle } from '../host/throttle';
import { statusOf } from './runsTree';

export function createStatusBar(monitor: RunMonitor): Disposable {
  const item = window.createStatusBarItem('dota.status', StatusBarAlignment.Left);
  item.name = 'DoTA';
  item.command = `${viewIds.runs}.focus`;
  const draw = throttle(250, () => {
    const status = statusOf(monitor.list());
    if (status === undefined) {
      item.hide();
      return;
    }
    item.text = status.text;
    item.tooltip = status.tooltip;
    item.accessibilityInformation = {
      label: status.text.replace(/\$\([^)]*\)\s*/, ''),
      role: 'button',
    };
    item.backgroundColor = status.failed
      ? new ThemeColor('statusBarItem.errorBackground')
      : undefined;
    item.show();
  });
  const subscription = monitor.onDidChange(draw);
  draw();
  return {
    dispose() {
      draw.cancel();
      subscription.dispose();
      item.dispose();
    },
  };
}
