/** Entry of the MPO explorer. */
import './explorer.css';
import { h } from '../shared/dom';
import { startExplorer } from './panel';

const root = h('div', { attrs: { id: 'app' } });
document.body.append(root);
startExplorer(root);
